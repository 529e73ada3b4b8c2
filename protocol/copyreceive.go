package protocol

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/walhaven/walhaven/internal/ownthread"
)

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
