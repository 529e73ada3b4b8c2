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

// Account is who PostgreSQL runs as.
type Account struct {
	Name     string
	UID, GID uint32
	// Other is set when that is not ourselves: we are root.
	Other bool
}

var account = sync.OnceValues(findAccount)

// RunAs returns the account that PostgreSQL runs as: ourselves, or when we are
// root the user postgres, else nobody.
func RunAs() (Account, error) { return account() }

func findAccount() (Account, error) {
	if os.Geteuid() != 0 {
		self := Account{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
		self.Name = strconv.Itoa(os.Geteuid())
		if u, err := user.Current(); err == nil { // A container's user may have no name.
			self.Name = u.Username
		}
		return self, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr != nil || gidErr != nil || uid == 0 {
			continue
		}
		return Account{Name: name, UID: uint32(uid), GID: uint32(gid), Other: true}, nil
	}
	return Account{}, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody: run this as an ordinary user")
}

// Credential is what a child's SysProcAttr needs to run as the account; nil
// when that is ourselves.
func (a Account) Credential() *syscall.Credential {
	if !a.Other {
		return nil
	}
	return &syscall.Credential{Uid: a.UID, Gid: a.GID}
}

// Own makes the account the owner of path, a file or folder that the caller has
// just made; nothing happens when that is ourselves.
func (a Account) Own(path string) error {
	if !a.Other {
		return nil
	}
	if err := os.Lchown(path, int(a.UID), int(a.GID)); err != nil {
		return fmt.Errorf("hand over to user %s: %w", a.Name, err)
	}
	return nil
}

func handOver(path string) error {
	a, err := account()
	if err != nil {
		return err
	}
	return a.Own(path)
}

// Reachable reports whether the account that PostgreSQL runs as can enter the
// folder path, or where it does not exist yet, its closest parent that does. The
// error wraps [ErrUnreachable] and names the folder that is closed. Only root
// running PostgreSQL as another user can meet it: a clone below /root does.
func Reachable(path string) error {
	a, err := account()
	if err != nil || !a.Other {
		return err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", path, err)
	}
	for dir := path; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && !a.mayEnter(info) {
			return fmt.Errorf("%s: user %s cannot enter %s: %w", path, a.Name, dir, ErrUnreachable)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func (a Account) mayEnter(info os.FileInfo) bool {
	mode := info.Mode().Perm()
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		switch {
		case stat.Uid == a.UID:
			return mode&0o100 != 0
		case stat.Gid == a.GID:
			return mode&0o010 != 0
		}
	}
	return mode&0o001 != 0
}
