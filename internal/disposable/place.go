package disposable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Place is where a server writes without fsync. What it wrote is there as long
// as none of these changes.
type Place struct {
	// Boot is the kernel's random name for the time since it was started.
	Boot string `json:"boot"`
	// Machine is /etc/machine-id; "" where there is none, as in most containers.
	Machine string `json:"machine,omitempty"`
	// Filesystem is the ID that statfs reports for the directory, which Linux makes
	// of the filesystem's UUID or of its device.
	Filesystem string `json:"filesystem"`
}

// Here returns the place of a directory on this machine, now.
func Here(dir string) (p Place, err error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return p, fmt.Errorf("read boot ID: %w", err)
	}
	machine, err := os.ReadFile("/etc/machine-id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p, fmt.Errorf("read machine ID: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return p, fmt.Errorf("look at the filesystem of %s: %w", dir, err)
	}
	p.Boot, p.Machine = strings.TrimSpace(string(boot)), strings.TrimSpace(string(machine))
	p.Filesystem = fmt.Sprintf("%08x%08x", uint32(st.Fsid.Val[0]), uint32(st.Fsid.Val[1]))
	return p, nil
}

// Differs says what has changed between p, where a server wrote, and now, in
// words for an operator; "" is nothing.
func (p Place) Differs(now Place) string {
	switch {
	case p.Machine != now.Machine:
		return fmt.Sprintf("it was written on machine %q, and this is %q", p.Machine, now.Machine)
	case p.Boot != now.Boot:
		return fmt.Sprintf("the machine was started anew since (boot %s then, %s now)", p.Boot, now.Boot)
	case p.Filesystem != now.Filesystem:
		return fmt.Sprintf("it was written on filesystem %s, and lies on %s now", p.Filesystem, now.Filesystem)
	}
	return ""
}
