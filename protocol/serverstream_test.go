package protocol_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
)

// startStream begins a session and a stream in it.
func startStream(t *testing.T, addr string) (*rawClient, []byte) {
	t.Helper()
	c := dialRaw(t, addr)
	greeting := c.start("replication", "true")
	c.write(frame('Q', "START_REPLICATION 0/1000000 TIMELINE 1\x00"))
	w := c.receive()
	require.Equal(t, message{'W', []byte{0, 0, 0}}, w)
	return c, greeting[len(greeting)-2].body
}

// complete ends a stream as section 5.5 says.
func complete(w *protocol.ResultWriter) error {
	if err := w.Complete("START_STREAMING"); err != nil {
		return err
	}
	return w.Complete("START_REPLICATION")
}

func TestClientEndsStream(t *testing.T) {
	h := newTestHandler(t)
	h.stream = func(_ context.Context, s *protocol.CopyStream) error {
		for {
			p, err := s.Receive()
			if errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := errors.Join(s.Send([]byte("echo "), p), s.Flush()); err != nil {
				return err
			}
		}
	}
	h.after = complete
	c, _ := startStream(t, serve(t, h, protocol.Options{}))
	c.write(frame('d', "x"))
	require.Equal(t, message{'d', []byte("echo x")}, c.receive())
	c.write(frame('c', ""))
	require.Equal(t, "c C(START_STREAMING) C(START_REPLICATION) ZI", shape(c.until('Z')))
	// The session is reusable, also for another stream.
	require.Equal(t, "T D C(IDENTIFY_SYSTEM) ZI", shape(c.query("IDENTIFY_SYSTEM")))
	c.write(frame('Q', "START_REPLICATION 0/1000000\x00"))
	require.Equal(t, byte('W'), c.receive().tag)
	c.write(frame('c', ""))
	require.Equal(t, "c C(START_STREAMING) C(START_REPLICATION) ZI", shape(c.until('Z')))
}

// TestServerEndsStream is the end of a historic timeline: our CopyDone first,
// then the client's, with late status messages between, then the row.
func TestServerEndsStream(t *testing.T) {
	h := newTestHandler(t)
	h.stream = func(_ context.Context, s *protocol.CopyStream) error { return s.CloseSend() }
	h.after = func(w *protocol.ResultWriter) error {
		if err := w.Columns(protocol.Column{Name: "next_tli"}, protocol.Column{Name: "next_tli_startpos"}); err != nil {
			return err
		}
		if err := w.Row(2, "0/2100FF00"); err != nil {
			return err
		}
		return complete(w)
	}
	c, _ := startStream(t, serve(t, h, protocol.Options{}))
	require.Equal(t, byte('c'), c.receive().tag)
	c.write(frame('d', "status"))
	c.write(frame('d', "status"))
	c.write(frame('c', ""))
	require.Equal(t, "T D C(START_STREAMING) C(START_REPLICATION) ZI", shape(c.until('Z')))
}

func TestErrorEndsStream(t *testing.T) {
	for name, stream := range map[string]func(context.Context, *protocol.CopyStream) error{
		"returned": func(context.Context, *protocol.CopyStream) error { return removed() },
		"sent and returned": func(_ context.Context, s *protocol.CopyStream) error {
			return errors.Join(s.SendError(removed()), removed())
		},
		"sent": func(_ context.Context, s *protocol.CopyStream) error { return s.SendError(removed()) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newTestHandler(t)
			h.stream = stream
			c, _ := startStream(t, serve(t, h, protocol.Options{}))
			require.Equal(t, "E(ERROR 58P01) ZI", shape(c.until('Z')))
			// The client did not know yet.
			c.write(frame('d', "status"))
			c.write(frame('c', ""))
			require.Equal(t, "T D C(IDENTIFY_SYSTEM) ZI", shape(c.query("IDENTIFY_SYSTEM")))
		})
	}
}

func removed() *protocol.Error {
	return protocol.Errorf(protocol.CodeUndefinedFile, "requested WAL segment has already been removed")
}

func TestFatalErrorClosesStream(t *testing.T) {
	h := newTestHandler(t)
	h.stream = func(context.Context, *protocol.CopyStream) error {
		return protocol.Fatalf(protocol.CodeInternalError, "no more")
	}
	c, _ := startStream(t, serve(t, h, protocol.Options{}))
	f := c.receive().fields()
	require.Equal(t, "FATAL XX000", f['S']+" "+f['C'])
	c.expectClosed()
}

func TestQueryInsideStream(t *testing.T) {
	h := newTestHandler(t)
	h.stream = func(_ context.Context, s *protocol.CopyStream) error { return drain(s) }
	c, _ := startStream(t, serve(t, h, protocol.Options{}))
	c.write(frame('Q', "SELECT 1\x00"))
	f := c.receive().fields()
	require.Equal(t, []string{"FATAL", "08P01", `invalid standby message type "Q"`}, []string{f['S'], f['C'], f['M']})
	c.expectClosed()
}

func TestShutdownInsideStream(t *testing.T) {
	h := newTestHandler(t)
	h.stream = func(_ context.Context, s *protocol.CopyStream) error { return s.SendShutdown() }
	c, _ := startStream(t, serve(t, h, protocol.Options{}))
	m := c.receive()
	require.Equal(t, "C(COPY 0)", shape([]message{m}))
	c.expectClosed()
}

func TestTerminateInsideStream(t *testing.T) {
	h := newTestHandler(t)
	ended := make(chan error, 1)
	h.stream = func(_ context.Context, s *protocol.CopyStream) error {
		err := drain(s)
		ended <- err
		return err
	}
	c, _ := startStream(t, serve(t, h, protocol.Options{}))
	c.write(frame('X', ""))
	require.ErrorIs(t, <-ended, protocol.ErrPeerClosed)
	c.expectClosed()
}

func TestCancelInsideStream(t *testing.T) {
	h := newTestHandler(t)
	h.stream = func(ctx context.Context, s *protocol.CopyStream) error { return drain(s) }
	addr := serve(t, h, protocol.Options{})
	c, key := startStream(t, addr)
	canceller := dialRaw(t, addr)
	canceller.write(untyped(cancelRequest, string(key)))
	canceller.expectClosed()
	require.Equal(t, "E(ERROR 57014) ZI", shape(c.until('Z')))
	require.Equal(t, "T D C(IDENTIFY_SYSTEM) ZI", shape(c.query("IDENTIFY_SYSTEM")))
}

// TestAbortFreesTheReader is how a sender that fails gets rid of its reader and
// still goes back to command mode.
func TestAbortFreesTheReader(t *testing.T) {
	h := newTestHandler(t)
	h.stream = func(_ context.Context, s *protocol.CopyStream) error {
		received := make(chan error, 1)
		go func() { received <- drain(s) }()
		s.Abort(removed())
		return <-received
	}
	c, _ := startStream(t, serve(t, h, protocol.Options{}))
	require.Equal(t, "E(ERROR 58P01) ZI", shape(c.until('Z')))
	require.Equal(t, "T D C(IDENTIFY_SYSTEM) ZI", shape(c.query("IDENTIFY_SYSTEM")))
}

// TestServerStopsStuckStream ends the server while a client neither reads nor
// writes and all buffers are full.
func TestServerStopsStuckStream(t *testing.T) {
	h := newTestHandler(t)
	sent := make(chan struct{}, 1)
	h.stream = func(_ context.Context, s *protocol.CopyStream) error {
		payload := make([]byte, 1<<20)
		for {
			if err := s.Send(payload); err != nil {
				return err
			}
			select {
			case sent <- struct{}{}:
			default:
			}
		}
	}
	addr, stop := serveUntil(t, h, protocol.Options{})
	startStream(t, addr)
	waitBlocked(sent)
	started := time.Now()
	stop()
	require.Less(t, time.Since(started), testTimeout, "it does not wait for the write's own limit")
	require.Equal(t, h.begun.Load(), h.ended.Load())
}

// TestClientWithoutCopyDone gives up on a client that never ends its half.
func TestClientWithoutCopyDone(t *testing.T) {
	h := newTestHandler(t)
	h.stream = func(context.Context, *protocol.CopyStream) error { return nil }
	c, _ := startStream(t, serve(t, h, protocol.Options{WriteTimeout: shortWrites}))
	require.Equal(t, byte('c'), c.receive().tag)
	_, err := io.ReadAll(c.conn)
	require.NoError(t, err)
}

// TestClientSide runs both of our sides against each other, to the result
// behind the stream.
func TestClientSide(t *testing.T) {
	h := newTestHandler(t)
	h.stream = func(_ context.Context, s *protocol.CopyStream) error { return s.CloseSend() }
	h.after = func(w *protocol.ResultWriter) error {
		if err := w.Columns(protocol.Column{Name: "next_tli"}, protocol.Column{Name: "x"}); err != nil {
			return err
		}
		return errors.Join(w.Row(2, nil), complete(w))
	}
	raw, _ := startStream(t, serve(t, h, protocol.Options{}))
	s := protocol.NewCopyStream(context.Background(), raw.conn, protocol.StreamOptions{})
	defer s.Close()
	_, err := s.Receive()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, s.Handshake())
	res, err := s.ReadResult()
	require.NoError(t, err)
	require.Equal(t, protocol.Result{
		Columns: []string{"next_tli", "x"}, Rows: [][][]byte{{[]byte("2"), nil}},
		Tags: []string{"START_STREAMING", "START_REPLICATION"},
	}, res)
	require.NoError(t, raw.conn.SetDeadline(time.Now().Add(testTimeout)))
	require.Equal(t, "T D C(IDENTIFY_SYSTEM) ZI", shape(raw.query("IDENTIFY_SYSTEM")))
}
