package ownthread

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/internal/monotonic"
)

const (
	// patience is how long one read or write blocks.
	patience = 20 * time.Millisecond
	// busyFor is how long one that reads again and again finds nothing before it
	// waits in poll(2), from where it can be called back.
	busyFor = 200 * time.Millisecond
	// yieldEvery is how often a reader lets others have its P. The runtime takes it
	// away from a goroutine that it finds in a system call, a write or an fsync, and
	// that has not yielded for 10 ms.
	yieldEvery = 8 * time.Millisecond
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

// half is one direction.
type half struct {
	deadline atomic.Int64 // as package monotonic has it, 0: none
	polling  atomic.Bool
	bell     int       // eventfd that ends a poll
	began    time.Time // of a call
	yielded  time.Time
}

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

func (h *half) ring() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(h.bell, one[:]) // A full counter wakes as well.
}

// ready says whether a call may go on, or begin.
func (c *Conn) ready(h *half) error {
	if at := h.deadline.Load(); at != 0 && monotonic.Now() >= at {
		return os.ErrDeadlineExceeded
	}
	if c.closed() {
		return net.ErrClosed
	}
	return nil
}

// again deals with a call that failed: nil if it is to be repeated, perhaps after
// having waited for events.
func (c *Conn) again(h *half, events int16, err error) error {
	switch {
	case errors.Is(err, unix.EINTR), h == &c.in && errors.Is(err, unix.EAGAIN) && time.Since(h.began) < busyFor:
		return c.ready(h)
	case !errors.Is(err, unix.EAGAIN):
		if ready := c.ready(h); errors.Is(ready, net.ErrClosed) {
			return ready
		}
		return err
	}
	// Whoever rings looks at polling after having set what is looked at here.
	h.polling.Store(true)
	defer h.polling.Store(false)
	if err := c.ready(h); err != nil {
		return err
	}
	timeout := -1
	if at := h.deadline.Load(); at != 0 {
		timeout = int(max(0, min(monotonic.Until(at), time.Hour)/time.Millisecond+1))
	}
	fds := [...]unix.PollFd{{Fd: int32(c.fd), Events: events}, {Fd: int32(h.bell), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds[:], timeout); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("poll: %w", err)
	}
	if fds[1].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(h.bell, count[:]) // Rung, or a moment ago.
	}
	return c.ready(h)
}

// do calls f, which blocks for at most patience, until it succeeds.
func (c *Conn) do(h *half, events int16, what string, f func() error) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	h.began = time.Now()
	if h == &c.in && h.began.Sub(h.yielded) > yieldEvery {
		h.yielded = h.began
		runtime.Gosched()
	}
	err := c.ready(h)
	for err == nil {
		if err = f(); err == nil {
			return nil
		}
		err = c.again(h, events, err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (n int, err error) {
	err = c.do(&c.in, unix.POLLIN, "read", func() (err error) {
		n, err = rawRead(c.fd, p)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, c.ended(n, len(p))
}

// ended tells the end of the peer from our own.
func (c *Conn) ended(n, room int) error {
	switch {
	case n > 0 || room == 0:
		return nil
	case errors.Is(c.ready(&c.in), net.ErrClosed):
		return net.ErrClosed
	}
	return io.EOF
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (n int, err error) {
	for first := true; first || n < len(p); first = false {
		var m int
		err = c.do(&c.out, unix.POLLOUT, "write", func() (err error) {
			m, err = unix.Write(c.fd, p[n:])
			return err
		})
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// TryWrite writes as much of p as there is room for, without waiting for more. It
// may be called by the goroutine that writes.
func (c *Conn) TryWrite(p []byte) (n int, err error) {
	if err := c.enter(); err != nil {
		return 0, err
	}
	defer c.leave()
	if len(p) == 0 {
		return 0, nil
	}
	switch n, err = rawTrySend(c.fd, p); {
	case err == nil:
		return n, nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, nil
	}
	return 0, fmt.Errorf("send: %w", err)
}

// maxPieces is how many pieces one system call writes (IOV_MAX).
const maxPieces = 1024

// WritePieces writes pieces one after the other, without copying them. It changes
// the slice, but not what it refers to.
func (c *Conn) WritePieces(pieces [][]byte) error {
	for len(pieces) > 0 {
		var m int
		err := c.do(&c.out, unix.POLLOUT, "write", func() (err error) {
			m, err = unix.Writev(c.fd, pieces[:min(len(pieces), maxPieces)])
			return err
		})
		if err != nil {
			return err
		}
		for len(pieces) > 0 && m >= len(pieces[0]) {
			m -= len(pieces[0])
			pieces = pieces[1:]
		}
		if m > 0 {
			pieces[0] = pieces[0][m:]
		}
	}
	return nil
}

// ReadMsg receives a message with control data, as recvmsg(2) does; descriptors
// in it are closed on exec.
func (c *Conn) ReadMsg(p, oob []byte) (n, oobn, flags int, err error) {
	err = c.do(&c.in, unix.POLLIN, "recvmsg", func() (err error) {
		n, oobn, flags, err = rawReceive(c.fd, p, oob)
		return err
	})
	return n, oobn, flags, err
}

// WriteMsg sends a message with control data, as sendmsg(2) does.
func (c *Conn) WriteMsg(p, oob []byte) error {
	return c.do(&c.out, unix.POLLOUT, "sendmsg", func() error {
		return unix.Sendmsg(c.fd, p, oob, nil, unix.MSG_NOSIGNAL)
	})
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

// Unread is how many bytes have come that no Read has taken.
func (c *Conn) Unread() (n int) {
	_ = c.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }) // 0 of a closed one.
	return n
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.set(&c.in, t), c.set(&c.out, t))
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.set(&c.in, t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.set(&c.out, t) }

func (c *Conn) set(h *half, t time.Time) error {
	at := int64(0)
	if !t.IsZero() {
		at = max(monotonic.At(t), 1)
	}
	h.deadline.Store(at)
	if !h.polling.Load() {
		return nil
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	h.ring()
	return nil
}
