package durablefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Replace makes content that of the file at path, with that mode and ours. Several
// may do so at a time; the last one stays. A crash may leave a file beside it whose
// name begins with path's.
func Replace(path string, content []byte, mode fs.FileMode) error {
	return replace(path, content, func(f *os.File) error { return f.Chmod(mode) })
}

// ReplaceForOwner is Replace for the owner of the directory alone, as files of a
// PostgreSQL data directory are.
func ReplaceForOwner(path string, content []byte) error {
	return replace(path, content, func(f *os.File) error {
		info, err := os.Stat(filepath.Dir(path))
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
			return f.Chown(int(st.Uid), int(st.Gid))
		}
		return nil
	})
}

// replace has prepare set the rights of the new file, which only its owner has at
// first.
func replace(path string, content []byte, prepare func(*os.File) error) error {
	next, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = next.Write(content)
	if err = errors.Join(err, prepare(next), next.Sync(), next.Close()); err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(next.Name())))
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory durable.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
