package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideVariable is set in the environment of a test binary that runs inside the
// router's namespace.
const insideVariable = "WALHAVEN_CHAOS_INSIDE"

// namespaceAttributes start a child in namespaces of its own in which it may do
// what the network and the disks need.
func namespaceAttributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		// The account stays what it is: PostgreSQL does not run as root.
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		a.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN}
	}
	return a
}

// namespacesPermitted says why a network of namespaces cannot be had here, nil if
// it can.
func namespacesPermitted() error {
	if _, err := exec.LookPath("ip"); err != nil {
		return err
	}
	probe := exec.Command("sh", "-c",
		"ip link add v0 type veth peer name v1 && ip rule add pref 99 from 10.0.0.1 to 10.0.0.2 blackhole && echo 1 >/proc/sys/net/ipv4/ip_forward")
	probe.SysProcAttr = namespaceAttributes()
	if out, err := probe.CombinedOutput(); err != nil {
		return fmt.Errorf("try namespaces: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// namespaces is a network of one namespace a machine around the one that the test
// runs in, which routes.
type namespaces struct {
	ours     int                // descriptor of the router's
	machines [endOfMachines]int // descriptors
	lost     map[link]bool      // what is cut
}

// newNamespaces builds it; the caller is inside the router's namespace, with which
// everything goes.
func newNamespaces() (*namespaces, error) {
	n := &namespaces{lost: map[link]bool{}}
	// What is mounted here stays here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	var err error
	if n.ours, err = openNamespace(); err != nil {
		return nil, err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return nil, fmt.Errorf("forward packets: %w", err)
	}
	if err := ip("link set lo up"); err != nil {
		return nil, err
	}
	for m := safekeeper1; m < endOfMachines; m++ {
		if err := n.add(m); err != nil {
			return nil, fmt.Errorf("add %s: %w", m, err)
		}
	}
	return n, nil
}

// openNamespace returns a descriptor of the calling thread's network namespace.
func openNamespace() (int, error) {
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open network namespace: %w", err)
	}
	return fd, nil
}

// ip runs lines of the program of that name.
func ip(lines ...string) error {
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(lines, "; "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// add makes the namespace of m and its line to the router.
func (n *namespaces) add(m machine) error {
	err := n.locked(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		fd, err := openNamespace()
		n.machines[m] = fd
		return err
	})
	if err != nil {
		return err
	}
	err = ip(
		fmt.Sprintf("link add line%d type veth peer name eth0 netns /proc/%d/fd/%d", m, os.Getpid(), n.machines[m]),
		fmt.Sprintf("addr add 10.77.%d.1/24 dev line%d", m, m),
		fmt.Sprintf("link set line%d up", m),
	)
	if err != nil {
		return err
	}
	var inside error
	err = n.on(m, func() {
		inside = ip(
			"link set lo up",
			fmt.Sprintf("addr add %s/24 dev eth0", n.local(m)),
			"link set eth0 up",
			fmt.Sprintf("route add default via 10.77.%d.1", m),
		)
	})
	return errors.Join(err, inside)
}

// locked runs f on a thread that f may move, and moves it back. A thread that
// cannot be moved back ends with its goroutine.
func (n *namespaces) locked(f func() error) error {
	runtime.LockOSThread()
	err := f()
	if back := unix.Setns(n.ours, unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("return to the router: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

func (n *namespaces) on(m machine, f func()) error {
	return n.locked(func() error {
		if err := unix.Setns(n.machines[m], unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the namespace of %s: %w", m, err)
		}
		f()
		return nil
	})
}

func (n *namespaces) String() string {
	return "a network namespace a machine; packets are lost by their source and destination"
}

func (n *namespaces) local(m machine) string       { return fmt.Sprintf("10.77.%d.2", m) }
func (n *namespaces) loopback(machine) string      { return "127.0.0.1" }
func (n *namespaces) address(_, to machine) string { return n.local(to) }
func (n *namespaces) expose(machine, int) error    { return nil }

// rule adds or deletes ("del") the one that loses what goes over a link.
func (n *namespaces) rule(verb string, l link) error {
	return ip(fmt.Sprintf("rule %s pref %d from %s to %s blackhole", verb, 1000+100*int(l.from)+int(l.to), n.local(l.from), n.local(l.to)))
}

func (n *namespaces) cut(l link) error {
	if n.lost[l] {
		return nil
	}
	n.lost[l] = true
	return n.rule("add", l)
}

func (n *namespaces) heal() error {
	var errs []error
	for l := range n.lost {
		errs = append(errs, n.rule("del", l))
	}
	clear(n.lost)
	return errors.Join(errs...)
}
