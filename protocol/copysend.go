package protocol

import (
	"errors"
	"fmt"
)

// sendEnd is how our direction of a stream ended.
type sendEnd uint8

const (
	sendOpen     sendEnd = iota
	sendDone             // CopyDone
	sendError            // ErrorResponse
	sendShutdown         // CommandComplete, nothing follows
)

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
