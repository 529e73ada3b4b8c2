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
	// keptBytes of big parts wait for others before they are written.
	keptBytes = 256 << 10
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
	pieces  net.Buffers // what comes before buf[mark:]: parts of buf, and big parts of frames
	mark    int
	kept    int      // bytes of the big parts in pieces
	backing [][]byte // what pieces is cut from, so that it can be reused

	files *fileSender // of the first file that was sent on
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
	switch {
	case w.err != nil || len(w.buf) == 0:
		return w.err
	case len(w.pieces) > 0:
		return w.writePieces()
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
	w.buf, w.mark = w.buf[:0], 0
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

// copyData keeps one CopyData message made of parts if all of them are small, and
// else writes it, with what was kept before. keep has it keep big parts, too: by
// reference, or copied for a connection that cannot gather.
func (w *frameWriter) copyData(parts [][]byte, keep bool) error {
	if w.err != nil {
		return w.err
	}
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	limit := inlinePart
	if keep && !w.gather && frameHeader+total <= writeBuffer {
		limit = writeBuffer
	}
	small := frameHeader
	for _, p := range parts {
		if len(p) <= limit {
			small += len(p)
		}
	}
	if cap(w.buf) < writeBuffer {
		w.buf = append(make([]byte, 0, writeBuffer), w.buf...)
	}
	if len(w.buf)+small > cap(w.buf) {
		if err := w.flushLocked(); err != nil {
			return err
		}
	}
	w.buf = append(w.buf, 'd', 0, 0, 0, 0)
	binary.BigEndian.PutUint32(w.buf[len(w.buf)-4:], uint32(4+total))
	many := small > writeBuffer // Then even they are written from where they lie.
	for _, p := range parts {
		if len(p) <= limit && !many {
			w.buf = append(w.buf, p...)
		} else {
			w.refer(p)
		}
	}
	if w.kept > 0 && (many || !keep || w.kept >= keptBytes) {
		return w.writePieces()
	}
	return nil
}

// tryWriter is a connection that takes what it has room for.
type tryWriter interface {
	TryWrite(p []byte) (n int, err error)
}

// tryWhole copies and writes one CopyData message without waiting for anything:
// it takes a message only if all before it was written, and writes what the
// connection has room for at once. The rest is kept.
func (w *frameWriter) tryWhole(parts [][]byte) (taken, written bool) {
	conn, ok := w.conn.(tryWriter)
	total := frameHeader
	for _, p := range parts {
		total += len(p)
	}
	if !ok || w.err != nil || len(w.buf) > 0 || total > writeBuffer {
		return false, false
	}
	if cap(w.buf) < writeBuffer {
		w.buf = make([]byte, 0, writeBuffer)
	}
	w.buf = binary.BigEndian.AppendUint32(append(w.buf, 'd'), uint32(total-1))
	for _, p := range parts {
		w.buf = append(w.buf, p...)
	}
	var n int
	if n, w.err = conn.TryWrite(w.buf); w.err != nil {
		w.release()
		return true, false
	}
	w.buf = append(w.buf[:0], w.buf[n:]...)
	return true, len(w.buf) == 0
}

// refer has p written behind what is in the buffer.
func (w *frameWriter) refer(p []byte) {
	if w.pieces == nil {
		w.pieces, w.backing = w.backing[:0], nil
	}
	if len(w.buf) > w.mark {
		w.pieces = append(w.pieces, w.buf[w.mark:])
		w.mark = len(w.buf)
	}
	w.pieces = append(w.pieces, p)
	w.kept += len(p)
}

func (w *frameWriter) writePieces() error {
	if len(w.buf) > w.mark {
		w.pieces = append(w.pieces, w.buf[w.mark:])
	}
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
	w.pieces, w.kept = nil, 0
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
