package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

const lockFile = "walhaven.lock"

// ErrLocked is wrapped by the error of Open when another process, or another
// Dir of this one, holds the directory.
var ErrLocked = errors.New("data directory is in use")

// Dir is a locked data directory with its identity.
type Dir struct {
	Path     string
	Identity Identity

	lock *os.File
}

// Open creates path when it is missing, locks it, and loads its identity or
// founds one. id 0 accepts whatever identity is there; any other must match.
// The caller owns the Dir and closes it after everything inside is closed.
func Open(path, program string, id uint64) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := mkdirDurable(path); err != nil {
		return nil, err
	}
	lock, err := takeLock(filepath.Join(path, lockFile))
	if err != nil {
		return nil, err
	}
	identity, err := loadOrFound(vfs.Default, path, program, id)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Dir{Path: path, Identity: identity, lock: lock}, nil
}

// Close gives the lock back. A process that is just being forked has the file open
// as well, until it runs its program, and would keep the lock for that long: closing
// alone is not enough.
func (d *Dir) Close() error {
	err := unix.Flock(int(d.lock.Fd()), unix.LOCK_UN)
	if err = errors.Join(err, d.lock.Close()); err != nil {
		return fmt.Errorf("unlock data directory: %w", err)
	}
	return nil
}

// mkdirDurable creates path and its missing parents and makes their names
// durable. That of a path which exists is synced again, for whoever made it may
// have been killed in between; unless its parent is somebody else's.
func mkdirDurable(path string) error {
	parent := filepath.Dir(path)
	st, err := os.Stat(path)
	switch {
	case err == nil && !st.IsDir():
		return fmt.Errorf("data directory %s is not a directory", path)
	case err == nil:
		if err := SyncDir(vfs.Default, parent); !errors.Is(err, os.ErrPermission) {
			return err
		}
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("data directory: %w", err)
	}
	if err := mkdirDurable(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("create data directory: %w", err)
	}
	return SyncDir(vfs.Default, parent)
}

// takeLock uses flock, which also keeps out a second opener in this process
// and ends with the process however it dies.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w by another process", ErrLocked)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}
