package protocol

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/ownthread"
)

// ErrPeerClosed says that the peer ended the connection (Terminate or end of
// file) while a stream was open.
var ErrPeerClosed = errors.New("peer closed the connection")

// ErrStreamComplete says that a server ended the stream by CommandComplete
// without CopyDone, which is how it announces its shutdown.
var ErrStreamComplete = errors.New("server ended the stream")

// StreamOptions of a CopyStream. Zero values are the defaults given.
type StreamOptions struct {
	Server   bool   // this end is the server's: the peer speaks as a client
	MaxFrame int    // bytes of an incoming CopyData payload, 1 MiB + 64 KiB
	Pending  []byte // bytes of the peer that were read from conn already
}

// CopyStream is one side of a CopyBoth exchange, of servers and of clients
// alike. It has two independent halves: Receive, ReceiveHead, ReadRest,
// Buffered, SetReadIdle, Handshake and ReadResult belong to one goroutine; Send, SendFile, Flush, CloseSend,
// SendError, Abort and Close may be called from any. Neither half waits for the
// other, so a side that keeps both going cannot deadlock.
type CopyStream struct {
	wire   *wire
	server bool
	stop   func() // ends the watch on the context, and waits for it

	// The reader half.
	idle    time.Duration
	recvErr error // what ended receiving, returned again and again

	// The writer half, under wire.out.mu.
	sent sendEnd
}

// NewCopyStream starts a stream on a connection whose CopyBothResponse has
// passed. When ctx is done both halves fail with its cause, within a second
// whatever the peer does. The caller owns the stream and closes it.
func NewCopyStream(ctx context.Context, conn net.Conn, o StreamOptions) *CopyStream {
	w := newWire(conn, nil)
	w.in.buf = append(make([]byte, 0, streamReadBuffer), o.Pending...)
	w.in.w = len(w.in.buf)
	w.in.buf = w.in.buf[:cap(w.in.buf)]
	return newCopyStream(ctx, w, o)
}

func newCopyStream(ctx context.Context, w *wire, o StreamOptions) *CopyStream {
	if o.MaxFrame <= 0 {
		o.MaxFrame = defaultMaxCopyData
	}
	c := &CopyStream{wire: w, server: o.Server}
	if o.Server {
		w.in.limits = copyLimits(o.MaxFrame)
	} else {
		w.in.limits = responseLimits(o.MaxFrame)
	}
	w.in.arm = c.armRead
	w.in.reserve(streamReadBuffer)
	c.stop = watch(ctx, func() { w.interrupt(context.Cause(ctx), false) })
	return c
}

// OwnThread has the goroutine that receives wait on a thread of its own if the
// program allows one more (see package ownthread), and does nothing to a
// connection with TLS. It is called before anybody else has the stream.
func (c *CopyStream) OwnThread() {
	w := c.wire
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause != nil {
		return // Its deadlines are set.
	}
	if taken, ok := ownthread.Take(w.conn); ok {
		w.conn, w.in.src, w.out.conn = taken, taken, taken
	}
}

// watch calls f when ctx is done. The function returned ends the watch and, if
// f has begun, waits for it.
func watch(ctx context.Context, f func()) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		f()
	})
	var once sync.Once
	return func() {
		once.Do(func() {
			if cancel() {
				close(done)
			}
		})
		<-done
	}
}

// Abort ends both halves as the end of the context does, with cause. Whoever
// ran them can still end the session in order: the server sends the error that
// Execute returns.
func (c *CopyStream) Abort(cause error) { c.wire.interrupt(cause, false) }

// Handshake completes CopyDone both ways: it sends ours if need be and discards
// what the peer still sends up to its own. The goroutine that received must
// have ended.
func (c *CopyStream) Handshake() error {
	if err := c.CloseSend(); err != nil {
		return err
	}
	for {
		if _, err := c.Receive(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Close ends the stream and closes the connection. It may be called from any
// goroutine and more than once; both halves fail then.
func (c *CopyStream) Close() error {
	c.stop()
	return c.wire.conn.Close()
}
