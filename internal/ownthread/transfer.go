package ownthread

import (
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

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

// Unread is how many bytes have come that no Read has taken.
func (c *Conn) Unread() (n int) {
	_ = c.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }) // 0 of a closed one.
	return n
}
