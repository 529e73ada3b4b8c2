package protocol

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// wire is a connection whose two directions can be interrupted from outside:
// reading ends at once, writing after a moment in which a reason can be sent.
// Deadlines go through it so that none of them undoes an interruption.
type wire struct {
	conn net.Conn
	in   *frameReader
	out  *frameWriter

	stopped atomic.Bool // cause is set; read without mu on the hot path

	mu       sync.Mutex
	cause    error // why it was interrupted
	terminal bool  // resume does not undo it
}

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

func newWire(conn net.Conn, limits *frameLimits) *wire {
	return &wire{conn: conn, in: newFrameReader(conn, limits), out: newFrameWriter(conn)}
}

// interrupt makes both directions fail with cause. The first cause stays.
func (w *wire) interrupt(cause error, terminal bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.terminal = w.terminal || terminal
	if w.cause != nil {
		return
	}
	w.cause = cause
	w.stopped.Store(true)
	// Errors here mean that the connection is closed, which ends both
	// directions as well.
	_ = w.conn.SetReadDeadline(aLongTimeAgo)
	_ = w.conn.SetWriteDeadline(time.Now().Add(cancelGrace))
}

// resume undoes an interruption that was not terminal.
func (w *wire) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.terminal {
		return
	}
	w.cause = nil
	w.stopped.Store(false)
	_ = w.conn.SetDeadline(time.Time{})
}

// absolute sets one deadline for reads and writes together.
func (w *wire) absolute(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause == nil {
		_ = w.conn.SetDeadline(t) // a closed connection shows at its next use
	}
}

// interrupted returns the cause, nil when there was no interruption.
func (w *wire) interrupted() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause
}

// readWithin lets reads wait for d, 0 for ever.
func (w *wire) readWithin(d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause != nil {
		return w.cause
	}
	return w.conn.SetReadDeadline(deadlineAfter(d))
}

// writeWithin lets writes wait for d, 0 for ever. After an interruption the
// grace period goes on.
func (w *wire) writeWithin(d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause != nil {
		return nil
	}
	return w.conn.SetWriteDeadline(deadlineAfter(d))
}

func deadlineAfter(d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
