package replication

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/protocol"
)

// DialOptions of a connection as a client. The zero value works.
type DialOptions struct {
	// Timeout bounds connecting, authentication and the answer to the command
	// that opens a stream; 10 s when zero.
	Timeout time.Duration
	// Params are added to the start-up parameters and override those of the
	// connection string: replication, application_name, options, settings.
	Params map[string]string
	// MaxFrame bounds incoming CopyData in bytes; 0 is package protocol's
	// default.
	MaxFrame int
	// Configure changes the parsed connection string before it is used; may be
	// nil.
	Configure func(*pgconn.Config) error
}

// Client is a connection to a PostgreSQL server, a safekeeper or a pageserver in
// command mode. It belongs to one goroutine.
type Client struct{}

// Connect connects and authenticates. conninfo takes what libpq takes: a URI or
// keywords and values, with the environment and ~/.pgpass behind it.
func Connect(ctx context.Context, conninfo string, o DialOptions) (*Client, error) { panic("todo") }

// Query runs one statement by the simple protocol and returns the rows of its
// last result.
func (c *Client) Query(ctx context.Context, sql string) ([]Row, error) { panic("todo") }

// Parameter is what the server reported of one of its parameters.
func (c *Client) Parameter(name string) string { panic("todo") }

// PID is the process number that the server gave to this session.
func (c *Client) PID() uint32 { panic("todo") }

// Stream runs a command that the server answers with CopyBothResponse and hands
// the connection over to the stream, which ends with ctx. The client is used up
// then. When the server answers with rows instead, as START_REPLICATION at the
// very end of a historic timeline does, those are returned, the stream is nil,
// and the client stays usable.
func (c *Client) Stream(ctx context.Context, command string) (*protocol.CopyStream, *protocol.Result, error) {
	panic("todo")
}

// Close ends the session; nil-safe, and harmless after Stream.
func (c *Client) Close() error { panic("todo") }

// Dial connects, runs a command and returns its stream.
func Dial(ctx context.Context, conninfo, command string, o DialOptions) (*protocol.CopyStream, error) {
	panic("todo")
}
