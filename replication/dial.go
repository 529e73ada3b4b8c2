package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/walhaven/walhaven/protocol"
)

// FillApplication is the application_name of who reads WAL to fill a member with it.
const FillApplication = "walhaven_fill"

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

func (o DialOptions) timeout() time.Duration {
	if o.Timeout <= 0 {
		return 10 * time.Second
	}
	return o.Timeout
}

// maxAnswer bounds one message of a server in command mode, in bytes.
const maxAnswer = 16 << 20

// closeTimeout bounds saying goodbye.
const closeTimeout = time.Second

// Client is a connection to a PostgreSQL server, a safekeeper or a pageserver in
// command mode. It belongs to one goroutine.
type Client struct {
	conn     *pgconn.PgConn // nil once it became a stream
	exact    *exactConn
	timeout  time.Duration
	maxFrame int
}

// Connect connects and authenticates. conninfo takes what libpq takes: a URI or
// keywords and values, with the environment and ~/.pgpass behind it.
func Connect(ctx context.Context, conninfo string, o DialOptions) (*Client, error) {
	config, err := pgconn.ParseConfig(conninfo)
	if err != nil {
		return nil, fmt.Errorf("parse connection string: %w", err)
	}
	for name, value := range o.Params {
		config.RuntimeParams[name] = value
	}
	if o.Configure != nil {
		if err := o.Configure(config); err != nil {
			return nil, err
		}
	}
	c := &Client{timeout: o.timeout(), maxFrame: o.MaxFrame}
	config.MaxProtocolMessageBodyLen = maxAnswer
	// Each host tried gets a wrapper of its own; the last one is the one in use.
	config.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, conn net.Conn) (net.Conn, error) {
		c.exact = &exactConn{Conn: conn}
		return c.exact, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if c.conn, err = pgconn.ConnectConfig(ctx, config); err != nil {
		return nil, &connectError{user: config.User, err: err}
	}
	return c, nil
}

// connectError is why nobody could be connected to, in one line: pgconn says it once
// for each address and again without TLS.
type connectError struct {
	user string
	err  error
}

func (e *connectError) Unwrap() error { return e.err }

func (e *connectError) Error() string {
	inner := e.err
	var tried *pgconn.ConnectError
	if errors.As(e.err, &tried) && tried.Unwrap() != nil {
		inner = tried.Unwrap()
	}
	var lines []string
	for line := range strings.Lines(inner.Error()) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return "connect as " + e.user + ": " + strings.Join(lines, "; ")
}

// errUsedUp says that a client became a stream or was closed.
var errUsedUp = errors.New("connection is no longer in command mode")

// Query runs one statement by the simple protocol and returns the rows of its
// last result.
func (c *Client) Query(ctx context.Context, sql string) ([]Row, error) {
	if c.conn == nil {
		return nil, errUsedUp
	}
	results, err := c.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, nil
	}
	last := results[len(results)-1]
	rows := make([]Row, len(last.Rows))
	for i, values := range last.Rows {
		rows[i] = make(Row, len(values))
		for j, value := range values {
			if value != nil {
				rows[i][last.FieldDescriptions[j].Name] = string(value)
			}
		}
	}
	return rows, nil
}

// Parameter is what the server reported of one of its parameters.
func (c *Client) Parameter(name string) string {
	if c.conn == nil {
		return ""
	}
	return c.conn.ParameterStatus(name)
}

// PID is the process number that the server gave to this session.
func (c *Client) PID() uint32 {
	if c.conn == nil {
		return 0
	}
	return c.conn.PID()
}

// Close ends the session; nil-safe, and harmless after Stream.
func (c *Client) Close() error {
	if c == nil || c.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	conn := c.conn
	c.conn = nil
	return conn.Close(ctx)
}

// Stream runs a command that the server answers with CopyBothResponse and hands
// the connection over to the stream, which ends with ctx. The client is used up
// then. When the server answers with rows instead, as START_REPLICATION at the
// very end of a historic timeline does, those are returned, the stream is nil,
// and the client stays usable. It also does after an error of the server's.
func (c *Client) Stream(ctx context.Context, command string) (*protocol.CopyStream, *protocol.Result, error) {
	if c.conn == nil {
		return nil, nil, errUsedUp
	}
	answer, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	frontend := c.conn.Frontend()
	frontend.SendQuery(&pgproto3.Query{String: command})
	if err := frontend.Flush(); err != nil {
		return nil, nil, c.broken(err)
	}
	var res protocol.Result
	var failed error
	for {
		message, err := c.conn.ReceiveMessage(answer)
		if err != nil { // a FATAL error of the server's as well
			return nil, nil, c.broken(err)
		}
		switch m := message.(type) {
		case *pgproto3.CopyBothResponse:
			stream, err := c.hijack(ctx)
			return stream, nil, err
		case *pgproto3.ErrorResponse:
			failed = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery:
			if failed != nil {
				return nil, nil, failed
			}
			return nil, &res, nil
		default:
			addResult(&res, message)
		}
	}
}

// addResult keeps what a row answer consists of.
func addResult(res *protocol.Result, message pgproto3.BackendMessage) {
	switch m := message.(type) {
	case *pgproto3.RowDescription:
		for _, f := range m.Fields {
			res.Columns = append(res.Columns, string(f.Name))
		}
	case *pgproto3.DataRow:
		row := make([][]byte, len(m.Values))
		for i, v := range m.Values {
			if v != nil {
				row[i] = append([]byte{}, v...)
			}
		}
		res.Rows = append(res.Rows, row)
	case *pgproto3.CommandComplete:
		res.Tags = append(res.Tags, string(m.CommandTag))
	}
}

// broken closes a connection in the middle of an answer.
func (c *Client) broken(err error) error {
	conn := c.conn
	c.conn = nil
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // no goodbye
	_ = conn.Close(ctx)
	return fmt.Errorf("open stream: %w", err)
}

// hijack takes the connection from pgconn. Not a byte behind CopyBothResponse
// has been read from it: see exactConn.
func (c *Client) hijack(ctx context.Context) (*protocol.CopyStream, error) {
	hijacked, err := c.conn.Hijack()
	if err != nil {
		return nil, c.broken(err)
	}
	c.conn = nil
	_ = hijacked.Conn.SetDeadline(time.Time{})
	return protocol.NewCopyStream(ctx, c.exact.Conn, protocol.StreamOptions{MaxFrame: c.maxFrame}), nil
}

// Dial connects, runs a command and returns its stream.
func Dial(ctx context.Context, conninfo, command string, o DialOptions) (*protocol.CopyStream, error) {
	c, err := Connect(ctx, conninfo, o)
	if err != nil {
		return nil, err
	}
	stream, _, err := c.Stream(ctx, command)
	if stream == nil {
		_ = c.Close()
		if err == nil {
			err = fmt.Errorf("open stream: the server answered %q without a stream", command)
		}
		return nil, err
	}
	return stream, nil
}
