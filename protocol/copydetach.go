package protocol

import (
	"bytes"
	"errors"
	"os"

	"github.com/walhaven/walhaven/internal/ownthread"
)

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
