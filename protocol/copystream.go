package protocol

import (
	"context"
	"errors"
	"net"
	"time"
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
// alike. It has two independent halves: Receive, Buffered, SetReadIdle and
// ReadResult belong to one goroutine; Send, Flush, CloseSend, SendError and
// Abort may be called from any. Neither half waits for the other, so a side
// that keeps both going cannot deadlock.
type CopyStream struct{}

// NewCopyStream starts a stream on a connection whose CopyBothResponse has
// passed. When ctx is done both halves fail with its cause, within a second
// whatever the peer does.
func NewCopyStream(ctx context.Context, conn net.Conn, o StreamOptions) *CopyStream { panic("todo") }

// Receive returns the payload of the next CopyData. It is not copied and valid
// until the next Receive. io.EOF is the peer's CopyDone, *Error its
// ErrorResponse (or a message that does not belong here), ErrStreamComplete its
// CommandComplete, ErrPeerClosed its end. Notices and parameters are skipped.
func (c *CopyStream) Receive() ([]byte, error) { panic("todo") }

// Buffered says that a complete further message is in memory: the next Receive
// will not wait.
func (c *CopyStream) Buffered() bool { panic("todo") }

// Send writes one CopyData that is the concatenation of parts. Small frames are
// kept until Flush or until the buffer is full; big parts are written from where
// they are before Send returns.
func (c *CopyStream) Send(parts ...[]byte) error { panic("todo") }

// Flush writes what Send kept.
func (c *CopyStream) Flush() error { panic("todo") }

// CloseSend sends CopyDone; no Send may follow. Repeated calls do nothing.
func (c *CopyStream) CloseSend() error { panic("todo") }

// SendError ends the stream of a server with an ErrorResponse.
func (c *CopyStream) SendError(e *Error) error { panic("todo") }

// SetReadIdle makes Receive fail with os.ErrDeadlineExceeded when no byte
// arrives for d; 0 waits for ever.
func (c *CopyStream) SetReadIdle(d time.Duration) { panic("todo") }

// Abort ends both halves as the end of the context does, with cause.
func (c *CopyStream) Abort(cause error) { panic("todo") }

// Handshake completes CopyDone both ways: it sends ours if need be and discards
// what the peer still sends up to its own. The goroutine that receives must
// have ended.
func (c *CopyStream) Handshake() error { panic("todo") }

// Result is what a server says after a stream.
type Result struct {
	Columns []string
	Rows    [][][]byte // nil is NULL
	Tags    []string   // one a CommandComplete
}

// ReadResult reads, on the client's side and after Handshake, the rest of the
// answer up to ReadyForQuery, e.g. the row that names the next timeline. An
// ErrorResponse is returned as *Error.
func (c *CopyStream) ReadResult() (Result, error) { panic("todo") }

// Close ends the stream and closes the connection. It may be called from any
// goroutine, and more than once.
func (c *CopyStream) Close() error { panic("todo") }
