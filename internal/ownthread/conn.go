package ownthread

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// places is how many connections may still be taken.
var places atomic.Int64

// Allow lets n connections more be taken at a time. Programs call it at their
// start: for that moment everything stops.
func Allow(n int) {
	if n > 0 {
		places.Add(int64(n))
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
	}
}

// Conn is a connection that was taken. One goroutine at a time may read, one may
// write; the other methods are for any.
type Conn struct {
	fd            int
	local, remote net.Addr
	in, out       half
	// users counts the calls that the descriptors stay open for, with hasEnded
	// added once it is closed. Whoever brings it to hasEnded alone releases them.
	users atomic.Int64
}

// hasEnded is more than any number of users.
const hasEnded = 1 << 32

var _ net.Conn = (*Conn)(nil)

// Take takes a TCP or Unix connection over, which is closed by that. It leaves
// others alone, such as those with TLS, and all when there is no place (false).
func Take(c net.Conn) (*Conn, bool) {
	var s syscall.Conn
	switch c := c.(type) {
	case *net.TCPConn:
		s = c
	case *net.UnixConn:
		s = c
	default:
		return nil, false
	}
	if places.Add(-1) < 0 {
		places.Add(1)
		return nil, false
	}
	taken := &Conn{fd: -1, local: c.LocalAddr(), remote: c.RemoteAddr()}
	taken.in.bell, taken.out.bell = -1, -1
	if err := taken.open(s); err != nil {
		taken.release()
		return nil, false
	}
	_ = c.Close() // Its descriptor; ours keeps the connection.
	return taken, true
}

// open makes the descriptors.
func (c *Conn) open(s syscall.Conn) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { c.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); e != nil || err != nil {
		return errors.Join(e, err)
	}
	for _, h := range []*half{&c.in, &c.out} {
		if h.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
			return err
		}
	}
	limit := unix.NsecToTimeval(int64(patience))
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, option, &limit); err != nil {
			return err
		}
	}
	return unix.SetNonblock(c.fd, false)
}

// release closes the descriptors and gives the place back.
func (c *Conn) release() {
	for _, fd := range []int{c.fd, c.in.bell, c.out.bell} {
		if fd >= 0 {
			_ = unix.Close(fd) // Nothing is lost: what was written is the kernel's.
		}
	}
	places.Add(1)
}

// enter keeps the descriptors open until leave.
func (c *Conn) enter() error { return c.add(1) }

// add adds to the users of a connection that is not closed.
func (c *Conn) add(n int64) error {
	for {
		users := c.users.Load()
		if users >= hasEnded {
			return net.ErrClosed
		}
		if c.users.CompareAndSwap(users, users+n) {
			return nil
		}
	}
}

func (c *Conn) leave() {
	if c.users.Add(-1) == hasEnded {
		c.release()
	}
}

func (c *Conn) closed() bool { return c.users.Load() >= hasEnded }

// Close ends both directions. Whoever is in the middle of a call returns.
func (c *Conn) Close() error {
	if err := c.add(hasEnded + 1); err != nil {
		return err
	}
	defer c.leave()
	_ = unix.Shutdown(c.fd, unix.SHUT_RDWR) // Fails when the peer has gone: then nobody waits.
	c.in.ring()
	c.out.ring()
	return nil
}

// Detach ends c as Close does, but not the connection, which is the file's. Nobody
// may be in the middle of a call.
func (c *Conn) Detach() (*os.File, error) {
	if err := c.add(hasEnded + 1); err != nil {
		return nil, err
	}
	defer c.leave()
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("detach connection: %w", err)
	}
	return os.NewFile(uintptr(fd), "connection"), nil
}

// Control calls f with the descriptor, which stays open meanwhile.
func (c *Conn) Control(f func(fd uintptr)) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	f(uintptr(c.fd))
	return nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }
