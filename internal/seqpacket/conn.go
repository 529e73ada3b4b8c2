package seqpacket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/internal/ownthread"
)

const (
	// MaxMessage is the longest message in bytes. It is well below what the kernel
	// lets one packet have (net.core.wmem_default).
	MaxMessage = 128 << 10
	// MaxFiles is the most descriptors that go with a message.
	MaxFiles = 8
)

// ErrTooLong says that a message is longer than MaxMessage, or empty, or has more
// than MaxFiles descriptors.
var ErrTooLong = errors.New("message is empty or too long")

// Conn is one end of a pair. Send may be called by any goroutine, Receive by one.
type Conn struct {
	c socket

	send sync.Mutex // one writer, so that a deadline is its own

	// Of the receiving goroutine.
	buf []byte
	oob []byte
}

// socket is what a Conn is made of: polled, or one that keeps a thread.
type socket interface {
	ReadMsg(p, oob []byte) (n, oobn, flags int, err error)
	WriteMsg(p, oob []byte) error
	Control(f func(fd uintptr)) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	Close() error
}

// polled is a socket with Go's poller behind it.
type polled struct {
	*net.UnixConn
	raw syscall.RawConn
}

func (s polled) ReadMsg(p, oob []byte) (n, oobn, flags int, err error) {
	n, oobn, flags, _, err = s.ReadMsgUnix(p, oob)
	return n, oobn, flags, err
}

func (s polled) WriteMsg(p, oob []byte) error {
	_, _, err := s.WriteMsgUnix(p, oob, nil)
	return err
}

func (s polled) Control(f func(fd uintptr)) error { return s.raw.Control(f) }

// OwnThread has the goroutine that receives wait on a thread of its own if the
// program allows one more: see package ownthread. It is called before anybody
// else has the Conn, and no deadline may be set.
func (c *Conn) OwnThread() {
	if p, ok := c.c.(polled); ok {
		if taken, ok := ownthread.Take(p.UnixConn); ok {
			c.c = taken
		}
	}
}

// Pair makes a connected pair: one end to use here, and the other as a file to
// hand to a process. Neither outlives an exec by accident.
func Pair() (*Conn, *os.File, error) {
	ours, theirs, err := PairFiles()
	if err != nil {
		return nil, nil, err
	}
	c, err := FromFile(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return c, theirs, nil
}

// PairFiles makes a connected pair of which both ends are to be handed on.
func PairFiles() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "pair"), os.NewFile(uintptr(fds[1]), "pair"), nil
}

// FromFile makes a Conn of one end, and closes f. It refuses what is no socket of
// this kind. os/exec makes descriptors that it passes blocking; here they are
// made fit for the poller again.
func FromFile(f *os.File) (*Conn, error) {
	defer f.Close()
	kind, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, fmt.Errorf("descriptor is no socket: %w", err)
	}
	if kind != unix.SOCK_SEQPACKET {
		return nil, fmt.Errorf("socket is of type %d instead of SOCK_SEQPACKET", kind)
	}
	any, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("use socket: %w", err)
	}
	c, ok := any.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("socket is not a Unix socket"), any.Close())
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("use socket: %w", err), c.Close())
	}
	return &Conn{c: polled{c, raw}}, nil
}

// Send sends one message with descriptors, which stay the caller's. It waits
// while the peer's queue is full, up to timeout; 0 waits for ever. An error is
// final: part of nothing was sent, but the peer does not keep up.
func (c *Conn) Send(timeout time.Duration, message []byte, files ...*os.File) error {
	if len(message) == 0 || len(message) > MaxMessage || len(files) > MaxFiles {
		return fmt.Errorf("send %d bytes and %d descriptors: %w", len(message), len(files), ErrTooLong)
	}
	rights, err := rightsOf(files)
	if err != nil {
		return err
	}
	c.send.Lock()
	defer c.send.Unlock()
	if timeout > 0 {
		if err := c.c.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	if err := c.c.WriteMsg(message, rights); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// TrySend sends one message if the peer's queue has room for it, and waits for
// nothing: not for another Send either. It says whether the message was sent.
func (c *Conn) TrySend(message []byte) (sent bool) {
	if len(message) == 0 || len(message) > MaxMessage {
		return false
	}
	err := c.c.Control(func(fd uintptr) {
		sent = unix.Sendmsg(int(fd), message, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) == nil
	})
	return err == nil && sent
}

// rightsOf is the control message that carries files. (*os.File).Fd would make
// them blocking, for the receiver too.
func rightsOf(files []*os.File) ([]byte, error) {
	if len(files) == 0 {
		return nil, nil
	}
	fds := make([]int, len(files))
	for i, f := range files {
		raw, err := f.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { fds[i] = int(fd) })
		}
		if err != nil {
			return nil, fmt.Errorf("send descriptor: %w", err)
		}
	}
	return unix.UnixRights(fds...), nil
}

// Receive returns the next message, which is valid until the next call, and the
// descriptors that came with it, which are the caller's. The end of the peer is
// io.EOF. A message that was cut off is an error.
func (c *Conn) Receive() ([]byte, []*os.File, error) {
	if c.buf == nil {
		c.buf, c.oob = make([]byte, MaxMessage+1), make([]byte, unix.CmsgSpace(MaxFiles*4))
	}
	n, oobn, flags, err := c.c.ReadMsg(c.buf, c.oob)
	files, fileErr := received(c.oob[:oobn])
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		err = io.EOF
	case err != nil:
		err = fmt.Errorf("receive: %w", err)
	case fileErr != nil:
		err = fileErr
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0, n > MaxMessage:
		err = fmt.Errorf("receive: %w", ErrTooLong)
	case n == 0:
		err = io.EOF
	}
	if err != nil {
		Close(files)
		return nil, nil, err
	}
	return c.buf[:n], files, nil
}

// received takes the descriptors out of a control message. They are closed on
// exec already.
func received(oob []byte) (files []*os.File, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive descriptors: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, fmt.Errorf("receive descriptors: %w", err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// SetReceiveTimeout makes Receive fail with os.ErrDeadlineExceeded when nothing
// has come for d from now on; below 0 it does so at once, 0 lifts it. It may be
// called by any goroutine.
func (c *Conn) SetReceiveTimeout(d time.Duration) error {
	var at time.Time
	if d != 0 {
		at = time.Now().Add(d)
	}
	return c.c.SetReadDeadline(at)
}

// Close ends both directions. It may be called more than once.
func (c *Conn) Close() error { return c.c.Close() }

// Close closes descriptors that nobody took.
func Close(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // They were only to be handed on.
	}
}
