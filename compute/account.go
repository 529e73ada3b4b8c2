package compute

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// ErrUnreachable is in the chain of errors about a folder that the account
// which PostgreSQL runs as cannot enter.
var ErrUnreachable = errors.New("out of reach")

// account is what PostgreSQL runs as: nil for ourselves, or when we are root
// the user postgres, else nobody.
var account = sync.OnceValues(func() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil || uid == 0 {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody: run this as an ordinary user")
})

// handOver makes the account the owner of path, which we have just made.
func handOver(path string) error {
	credential, err := account()
	if err != nil || credential == nil {
		return err
	}
	if err := os.Lchown(path, int(credential.Uid), int(credential.Gid)); err != nil {
		return fmt.Errorf("hand over to PostgreSQL's account: %w", err)
	}
	return nil
}

// Reachable reports whether the account that PostgreSQL runs as can enter the
// folder path, or where it does not exist yet, its closest parent that does. The
// error wraps [ErrUnreachable] and names the folder that is closed. Only root
// running PostgreSQL as another user can meet it: a clone below /root does.
func Reachable(path string) error {
	credential, err := account()
	if err != nil || credential == nil {
		return err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", path, err)
	}
	for dir := path; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && !enterable(info, credential) {
			return fmt.Errorf("%s: user %d cannot enter %s: %w", path, credential.Uid, dir, ErrUnreachable)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func enterable(info os.FileInfo, credential *syscall.Credential) bool {
	mode := info.Mode().Perm()
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		switch {
		case stat.Uid == credential.Uid:
			return mode&0o100 != 0
		case stat.Gid == credential.Gid:
			return mode&0o010 != 0
		}
	}
	return mode&0o001 != 0
}
