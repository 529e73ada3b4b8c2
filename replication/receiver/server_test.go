package receiver

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

const patience = time.Minute

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// script is what a server does with the one command that it is sent.
type script func(ctx context.Context, stmt string, w *protocol.ResultWriter) error

func (script) Begin(context.Context, *protocol.Session) (protocol.Settings, error) { return nil, nil }
func (script) End(*protocol.Session)                                               {}
func (script) Describe(context.Context, *protocol.Session, string) ([]protocol.Column, error) {
	return nil, nil
}

func (s script) Execute(ctx context.Context, _ *protocol.Session, stmt string, w *protocol.ResultWriter) error {
	return s(ctx, stmt, w)
}

type anyone struct{}

func (anyone) Authenticate(_ context.Context, s *protocol.Session, _ protocol.Exchange) (protocol.Identity, error) {
	return protocol.Identity{User: s.User}, nil
}

// connect returns a connection to a server that follows the script.
func connect(t *testing.T, s script) *replication.Client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- protocol.NewServer(s, protocol.Options{Auth: anyone{}}).Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	host, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	c, err := replication.Connect(within(t), "host="+host+" port="+port+" user=u dbname=d sslmode=disable",
		replication.DialOptions{Params: map[string]string{"replication": "true"}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func start(t *testing.T, c Streamer, at wal.LSN, o Options) *Receiver {
	t.Helper()
	r, err := Start(within(t), c, at, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// sendWAL sends one XLogData.
func sendWAL(s *protocol.CopyStream, at wal.LSN, data string) error {
	header := walstream.AppendXLogDataHeader(nil, &walstream.XLogData{Start: at, WALEnd: at + wal.LSN(len(data))})
	if err := s.Send(header, []byte(data)); err != nil {
		return err
	}
	return s.Flush()
}

func sendKeepalive(s *protocol.CopyStream, end wal.LSN, ask bool) error {
	if err := s.Send(walstream.AppendKeepalive(nil, &walstream.Keepalive{WALEnd: end, ReplyRequested: ask})); err != nil {
		return err
	}
	return s.Flush()
}

// receiveStatus returns the next status update.
func receiveStatus(s *protocol.CopyStream) (m walstream.StatusUpdate, err error) {
	payload, err := s.Receive()
	if err == nil {
		err = walstream.DecodeStatusUpdate(payload, &m)
	}
	return m, err
}
