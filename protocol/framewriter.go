package protocol

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"

	"github.com/walhaven/walhaven/internal/ownthread"
)

const (
	// writeBuffer is how many bytes of messages are collected before they are
	// written; flushAt leaves room for a row.
	writeBuffer = 64 << 10
	// inlinePart is the size up to which part of a frame is copied next to its
	// header; anything bigger is written from where it lies.
	inlinePart = 4 << 10
)

var errWriterClosed = errors.New("send on a stream that was closed for sending")

// frameWriter collects messages and writes them, big ones without a copy. All
// methods need mu.
type frameWriter struct {
	mu   sync.Mutex
	conn net.Conn
	buf  []byte // messages not written yet; capacity never shrinks
	err  error  // first write error; nothing is written after it
	// arm runs before each write to conn.
	arm func() error

	gather  bool        // conn takes several buffers in one system call
	pieces  net.Buffers // scratch, emptied after each write
	backing [][]byte    // what pieces is cut from, so that it can be reused
}

func newFrameWriter(conn net.Conn) *frameWriter {
	w := &frameWriter{conn: conn}
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		w.gather = true
	}
	return w
}

// append adds encoded messages by calling encode on the buffer.
func (w *frameWriter) append(encode func(dst []byte) ([]byte, error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	buf, err := encode(w.buf)
	if err != nil {
		return err
	}
	w.buf = buf
	if len(w.buf) >= writeBuffer {
		return w.flushLocked()
	}
	return nil
}

func (w *frameWriter) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flushLocked()
}

func (w *frameWriter) flushLocked() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	if w.err = w.ready(); w.err != nil {
		return w.err
	}
	_, w.err = w.conn.Write(w.buf)
	w.release()
	return w.err
}

// release empties the buffer and lets go of one that a long message blew up.
func (w *frameWriter) release() {
	w.buf = w.buf[:0]
	if cap(w.buf) > 4*writeBuffer {
		w.buf = nil
	}
}

func (w *frameWriter) ready() error {
	if w.arm == nil {
		return nil
	}
	return w.arm()
}

// copyData writes or keeps one CopyData message made of parts.
func (w *frameWriter) copyData(parts [][]byte) error {
	if w.err != nil {
		return w.err
	}
	total, inline := 0, 0
	for _, p := range parts {
		total += len(p)
		if len(p) <= inlinePart {
			inline += len(p)
		}
	}
	if cap(w.buf) < writeBuffer {
		w.buf = append(make([]byte, 0, writeBuffer), w.buf...)
	}
	// Without room for the small parts they could move the buffer while
	// pieces of it are queued, so it is emptied first.
	if len(w.buf)+frameHeader+inline > cap(w.buf) {
		if err := w.flushLocked(); err != nil {
			return err
		}
	}
	copyAll := frameHeader+inline > cap(w.buf)
	w.buf = append(w.buf, 'd', 0, 0, 0, 0)
	binary.BigEndian.PutUint32(w.buf[len(w.buf)-4:], uint32(4+total))
	return w.parts(parts, copyAll, inline == total)
}

// copyWhole keeps one CopyData message in the buffer, which is written first
// when there is no room; one that does not fit at all is written as copyData does.
func (w *frameWriter) copyWhole(parts [][]byte) error {
	total := frameHeader
	for _, p := range parts {
		total += len(p)
	}
	if total > writeBuffer {
		return w.copyData(parts)
	}
	if cap(w.buf) < writeBuffer {
		w.buf = append(make([]byte, 0, writeBuffer), w.buf...)
	}
	if len(w.buf)+total > cap(w.buf) {
		if err := w.flushLocked(); err != nil {
			return err
		}
	}
	if w.err != nil {
		return w.err
	}
	w.buf = append(w.buf, 'd', 0, 0, 0, 0)
	binary.BigEndian.PutUint32(w.buf[len(w.buf)-4:], uint32(total-1))
	for _, p := range parts {
		w.buf = append(w.buf, p...)
	}
	return nil
}

// parts queues the parts behind their header. separate forces big and small
// ones alike out of the buffer, whole says that all are small.
func (w *frameWriter) parts(parts [][]byte, separate, whole bool) error {
	if whole && !separate {
		for _, p := range parts {
			w.buf = append(w.buf, p...)
		}
		return nil
	}
	w.pieces, w.backing = w.backing[:0], nil
	mark := 0
	for _, p := range parts {
		if len(p) <= inlinePart && !separate {
			w.buf = append(w.buf, p...)
			continue
		}
		if len(w.buf) > mark {
			w.pieces = append(w.pieces, w.buf[mark:])
			mark = len(w.buf)
		}
		w.pieces = append(w.pieces, p)
	}
	if len(w.buf) > mark {
		w.pieces = append(w.pieces, w.buf[mark:])
	}
	return w.writePieces()
}

func (w *frameWriter) writePieces() error {
	w.backing = w.pieces
	if w.err = w.ready(); w.err == nil {
		if own, ok := w.conn.(*ownthread.Conn); ok {
			w.err = own.WritePieces(w.pieces)
		} else if w.gather {
			_, w.err = w.pieces.WriteTo(w.conn)
		} else {
			w.err = w.writeEach()
		}
	}
	clear(w.backing)
	w.pieces = nil
	w.release()
	return w.err
}

func (w *frameWriter) writeEach() error {
	for _, p := range w.pieces {
		if _, err := w.conn.Write(p); err != nil {
			return err
		}
	}
	return nil
}
