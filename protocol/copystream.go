package protocol

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
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
// Buffered, SetReadIdle, Handshake and ReadResult belong to one goroutine; Send, Flush, CloseSend,
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

// sendEnd is how our direction of a stream ended.
type sendEnd uint8

const (
	sendOpen     sendEnd = iota
	sendDone             // CopyDone
	sendError            // ErrorResponse
	sendShutdown         // CommandComplete, nothing follows
)

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

// armRead runs before each read of the connection.
func (c *CopyStream) armRead() error {
	if c.idle > 0 {
		return c.wire.readWithin(c.idle)
	}
	return c.wire.interrupted()
}

// SetReadIdle makes Receive fail with os.ErrDeadlineExceeded when no byte
// arrives for d; 0 waits for ever. Receiving may go on after it.
func (c *CopyStream) SetReadIdle(d time.Duration) {
	if c.idle = d; d <= 0 {
		// A closed connection is noticed by the next read.
		_ = c.wire.readWithin(0)
	}
}

// Receive returns the payload of the next CopyData. It is not copied and valid
// until the next Receive. io.EOF is the peer's CopyDone, *Error its
// ErrorResponse (or a message that does not belong here), ErrStreamComplete its
// CommandComplete, ErrPeerClosed its end, and the context's cause an
// interruption. Notices and parameters are skipped.
func (c *CopyStream) Receive() ([]byte, error) {
	return c.receive(c.wire.in.next)
}

// readAhead is how much of what follows a head may be read with it: what is
// small comes with one read, the rest of what is big needs no copy.
const readAhead = 8 << 10

// ReceiveHead is Receive for who has a place of his own for what is in the
// payload: it returns the first n bytes of the next CopyData's, all when it is
// shorter, and how many follow. ReadRest takes them all before anything else is
// received.
func (c *CopyStream) ReceiveHead(n int) (head []byte, rest int, err error) {
	in := c.wire.in
	in.ahead = readAhead
	head, err = c.receive(func() (byte, []byte, error) { return in.begin('d', n) })
	return head, in.left, err
}

// ReadRest fills p with the next bytes of what follows a head. It does not go on
// after an error, a timeout included.
func (c *CopyStream) ReadRest(p []byte) error {
	if c.recvErr != nil {
		return c.recvErr
	}
	if err := c.wire.in.rest(p); err != nil {
		if err = c.receiveFailed(err); c.recvErr == nil {
			c.recvErr = err
		}
		return err
	}
	return nil
}

// receive returns the CopyData that next brings.
func (c *CopyStream) receive(next func() (tag byte, body []byte, err error)) ([]byte, error) {
	for c.recvErr == nil {
		if c.wire.stopped.Load() {
			return nil, c.wire.interrupted()
		}
		if c.wire.in.left > 0 {
			return nil, fmt.Errorf("receive: %d bytes of the last message were not read", c.wire.in.left)
		}
		tag, body, err := next()
		if err != nil {
			return nil, c.receiveFailed(err)
		}
		if tag == 'd' {
			return body, nil
		}
		c.recvErr = c.control(tag, body)
	}
	return nil, c.recvErr
}

// receiveFailed keeps errors that end the stream. A timeout does not: the
// message so far is kept, and reading may go on.
func (c *CopyStream) receiveFailed(err error) error {
	if cause := c.wire.interrupted(); cause != nil {
		return cause
	}
	if isTimeout(err) {
		return fmt.Errorf("receive: %w", err)
	}
	var bad *frameError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		c.recvErr = ErrPeerClosed
	case errors.As(err, &bad) && c.server && bad.max < 0:
		c.recvErr = Fatalf(CodeProtocolViolation, "invalid standby message type %q", string(rune(bad.tag)))
	default:
		c.recvErr = fmt.Errorf("receive: %w", err)
	}
	return c.recvErr
}

// control handles a message other than CopyData; nil goes on receiving.
func (c *CopyStream) control(tag byte, body []byte) error {
	switch tag {
	case 'c':
		return io.EOF
	case 'X':
		return ErrPeerClosed
	case 'E':
		return decodeError(body)
	case 'C':
		return ErrStreamComplete
	case 'N', 'S', 'A':
		return nil
	default:
		return fmt.Errorf("receive: %w", &frameError{tag: tag, max: -1})
	}
}

// Buffered says that a complete further message is in memory: the next Receive
// will not wait.
func (c *CopyStream) Buffered() bool {
	return c.recvErr != nil || c.wire.in.buffered("NSA")
}

// Arrived is how many bytes have come and were not received yet; of a connection
// that OwnThread did not take, those in memory alone.
func (c *CopyStream) Arrived() int {
	n := len(c.wire.in.pending())
	if conn, ok := c.wire.conn.(*ownthread.Conn); ok {
		n += conn.Unread()
	}
	return n
}

// Send writes one CopyData that is the concatenation of parts. Small frames are
// kept until Flush or until the buffer is full; big parts are written from where
// they are before Send returns, so parts may be reused at once. After an error
// the stream is broken.
func (c *CopyStream) Send(parts ...[]byte) error {
	return c.send(parts, false)
}

// SendKept is Send for frames that others follow at once: big parts, too, are kept
// until Flush, a Send with big parts or until there are many, which makes one
// system call of several frames. They are not copied and must not change until
// then.
func (c *CopyStream) SendKept(parts ...[]byte) error {
	return c.send(parts, true)
}

// TrySend is Send and Flush for whoever may not wait, such as for a Send of
// another: with taken false nothing was done; with taken and not written the rest
// waits for a Flush, which also says what is wrong if something is. It takes only
// short messages, on connections that OwnThread took, when nothing is kept.
func (c *CopyStream) TrySend(parts ...[]byte) (taken, written bool) {
	out := c.wire.out
	if c.wire.stopped.Load() || !out.mu.TryLock() {
		return false, false
	}
	defer out.mu.Unlock()
	if c.sent != sendOpen {
		return false, false
	}
	return out.tryWhole(parts)
}

func (c *CopyStream) send(parts [][]byte, keep bool) error {
	out := c.wire.out
	out.mu.Lock()
	defer out.mu.Unlock()
	if c.sent != sendOpen {
		return errWriterClosed
	}
	return c.sendFailure(out.copyData(parts, keep))
}

// Flush writes what Send kept.
func (c *CopyStream) Flush() error { return c.sendFailure(c.wire.out.flush()) }

// CloseSend sends CopyDone and flushes; no Send may follow. Repeated calls do
// nothing.
func (c *CopyStream) CloseSend() error { return c.endSending(sendDone, raw(copyDone)) }

// SendError ends the stream of a server with an ErrorResponse. Execute may
// return the same error; it is not sent twice.
func (c *CopyStream) SendError(e *Error) error { return c.endSending(sendError, errorMessage(e)) }

// SendShutdown ends the stream of a server without CopyDone, which tells a
// standby that the server stops and that no timeline follows. The connection is
// closed when Execute returns.
func (c *CopyStream) SendShutdown() error {
	return c.endSending(sendShutdown, commandComplete("COPY 0"))
}

func (c *CopyStream) endSending(end sendEnd, m encoder) error {
	out := c.wire.out
	out.mu.Lock()
	defer out.mu.Unlock()
	if c.sent != sendOpen {
		return c.sendFailure(out.err)
	}
	buf, err := m.Encode(out.buf)
	if err != nil {
		return fmt.Errorf("encode end of stream: %w", err)
	}
	c.sent, out.buf = end, buf
	return c.sendFailure(out.flushLocked())
}

func (c *CopyStream) sendEnded() sendEnd {
	c.wire.out.mu.Lock()
	defer c.wire.out.mu.Unlock()
	return c.sent
}

func (c *CopyStream) sendFailure(err error) error {
	if err == nil || errors.Is(err, errWriterClosed) {
		return err
	}
	if cause := c.wire.interrupted(); cause != nil {
		return cause
	}
	return fmt.Errorf("send: %w", err)
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

// Detachable says that Detach can take the connection out: OwnThread has.
func (c *CopyStream) Detachable() bool {
	c.wire.out.mu.Lock()
	defer c.wire.out.mu.Unlock()
	_, ok := c.wire.conn.(*ownthread.Conn)
	return ok
}

// Detach takes the connection out of the stream, for whoever goes on with it: as
// a file, with the bytes that came and were not received. Abort must have ended
// both halves before, between messages of ours, and nobody may use the stream any
// more; but for Close.
func (c *CopyStream) Detach() (f *os.File, pending []byte, err error) {
	c.stop()
	out := c.wire.out
	out.mu.Lock()
	defer out.mu.Unlock()
	conn, ok := c.wire.conn.(*ownthread.Conn)
	if !ok || c.recvErr != nil || c.wire.in.left > 0 || c.sent != sendOpen || out.err != nil || len(out.buf) > 0 {
		return nil, nil, errNotDetachable
	}
	if f, err = conn.Detach(); err != nil {
		return nil, nil, err
	}
	return f, bytes.Clone(c.wire.in.pending()), nil
}

// errNotDetachable is the end of a stream that somebody else was to go on with.
var errNotDetachable = errors.New("connection cannot be handed on")

// Close ends the stream and closes the connection. It may be called from any
// goroutine and more than once; both halves fail then.
func (c *CopyStream) Close() error {
	c.stop()
	return c.wire.conn.Close()
}
