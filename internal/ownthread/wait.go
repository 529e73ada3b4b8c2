package ownthread

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
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

// half is one direction.
type half struct {
	deadline atomic.Int64 // as package monotonic has it, 0: none
	polling  atomic.Bool
	bell     int       // eventfd that ends a poll
	began    time.Time // of a call
	yielded  time.Time
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
