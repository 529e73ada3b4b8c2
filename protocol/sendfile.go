package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// File is an open file with its descriptor, both good until SendFile returns.
type File interface {
	io.ReaderAt
	Fd() uintptr
}

// FileRange is Length bytes of a file from Offset on.
type FileRange struct {
	File   File
	Offset int64
	Length int
}

// errFileEnded says that a file is shorter than the message that was begun with it.
var errFileEnded = errors.New("file ended in the middle of a message")

// SendsFiles says that SendFile is possible, and less work than Send: on TCP and Unix
// connections without TLS that OwnThread did not take.
func (c *CopyStream) SendsFiles() bool {
	out := c.wire.out
	out.mu.Lock()
	defer out.mu.Unlock()
	return out.fileSender() != nil
}

// SendFile writes one CopyData, which is head followed by a part of a file, and
// everything that was kept before. The part goes from the page cache to the
// connection without being copied (sendfile(2)): the peer may read it from there
// later, so it must never change. After an error the stream is broken, most likely
// in the middle of the message. It fails where SendsFiles says no.
func (c *CopyStream) SendFile(head []byte, part FileRange) error {
	out := c.wire.out
	out.mu.Lock()
	defer out.mu.Unlock()
	if c.sent != sendOpen {
		return errWriterClosed
	}
	return c.sendFailure(out.copyFile(head, part))
}

// fileSender returns what sends files on this connection, nil if nothing does.
func (w *frameWriter) fileSender() *fileSender {
	if w.files != nil && w.files.conn == w.conn {
		if w.files.refused {
			return nil
		}
		return w.files
	}
	switch w.conn.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil
	}
	raw, err := w.conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	s := &fileSender{conn: w.conn, raw: raw}
	s.step = s.write
	w.files = s
	return s
}

// copyFile writes what was kept and one CopyData message that ends with part.
func (w *frameWriter) copyFile(head []byte, part FileRange) error {
	if w.err != nil {
		return w.err
	}
	files := w.fileSender()
	if files == nil {
		return errors.New("files cannot be sent on this connection")
	}
	if cap(w.buf) < writeBuffer {
		w.buf = append(make([]byte, 0, writeBuffer), w.buf...)
	}
	if len(w.pieces) > 0 || len(w.buf)+frameHeader+len(head) > cap(w.buf) {
		if err := w.flushLocked(); err != nil {
			return err
		}
	}
	w.buf = binary.BigEndian.AppendUint32(append(w.buf, 'd'), uint32(4+len(head)+part.Length))
	w.buf = append(w.buf, head...)
	if w.err = w.ready(); w.err == nil {
		w.err = files.send(w.buf, part)
	}
	w.release()
	return w.err
}

// fileSender sends files on a connection that Go's poller has.
type fileSender struct {
	conn net.Conn
	raw  syscall.RawConn
	step func(fd uintptr) bool // write, made once
	// refused says that a file's file system has no way to sendfile.
	refused bool

	// Of the send under way.
	head []byte
	part FileRange // what is left
	next int64
	err  error
}

// send writes head and part, which is not empty.
func (s *fileSender) send(head []byte, part FileRange) error {
	s.head, s.part, s.err = head, part, nil
	err := s.raw.Write(s.step)
	if err == nil {
		err = s.err
	}
	if s.refused {
		err = s.copy()
	}
	s.head, s.part = nil, FileRange{}
	return err
}

// write writes until all is written or something fails (true), or there is no room.
func (s *fileSender) write(fd uintptr) bool {
	for s.err = nil; len(s.head) > 0 || s.part.Length > 0; {
		var n int
		var err error
		if len(s.head) > 0 {
			// What follows goes into the same packet.
			n, err = unix.SendmsgN(int(fd), s.head, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
		} else {
			s.next = s.part.Offset
			n, err = unix.Sendfile(int(fd), int(s.part.File.Fd()), &s.next, s.part.Length)
		}
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return false
		case err != nil:
			s.fail(err)
			return true
		case len(s.head) > 0:
			s.head = s.head[n:]
		case n == 0:
			s.err = errFileEnded
			return true
		default:
			s.part.Offset += int64(n)
			s.part.Length -= n
		}
	}
	return true
}

// fail keeps an error. Two of them say that this file cannot be sent so, by which
// nothing was.
func (s *fileSender) fail(err error) {
	switch {
	case len(s.head) > 0:
		s.err = os.NewSyscallError("sendmsg", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		s.refused = true
	default:
		s.err = os.NewSyscallError("sendfile", err)
	}
}

// copy writes what is left as one that has no sendfile does.
func (s *fileSender) copy() error {
	buf := make([]byte, min(s.part.Length, writeBuffer))
	for s.part.Length > 0 {
		p := buf[:min(len(buf), s.part.Length)]
		n, err := s.part.File.ReadAt(p, s.part.Offset)
		if n < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = errFileEnded
			}
			return fmt.Errorf("read file: %w", err)
		}
		if _, err := s.conn.Write(p); err != nil {
			return err
		}
		s.part.Offset += int64(n)
		s.part.Length -= n
	}
	return nil
}
