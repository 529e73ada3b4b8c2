package receiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// TestFromPostgres receives WAL of a real server, byte for byte, and is seen
// there with the positions that it reports.
func TestFromPostgres(t *testing.T) {
	server := computetest.New(t, computetest.Options{})
	ctx := within(t)
	require.NoError(t, server.Exec(ctx, "CREATE TABLE t AS SELECT repeat('x', 100) AS x FROM generate_series(1, 10000)"))
	require.NoError(t, server.Exec(ctx, "SELECT pg_create_physical_replication_slot('tap', true)"))
	flush, err := server.QueryValue(ctx, "SELECT pg_current_wal_flush_lsn()")
	require.NoError(t, err)
	end, err := wal.ParseLSN(flush)
	require.NoError(t, err)
	size := wal.SegmentSize(16 << 20)
	begin := size.SegmentStart(end)

	c, err := replication.Connect(ctx, server.Conninfo(), replication.DialOptions{
		Params: map[string]string{"replication": "true", "application_name": "tap"},
	})
	require.NoError(t, err)
	var reported atomic.Uint64
	r := start(t, c, begin, Options{Slot: "tap", TLI: 1, Positions: func() Positions {
		at := wal.LSN(reported.Load())
		return Positions{Write: at, Flush: at, Apply: at}
	}})
	var got []byte
	for at := begin; at < end; at = begin + wal.LSN(len(got)) {
		where, data, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, at, where)
		got = append(got, data...)
	}
	want, err := os.ReadFile(filepath.Join(server.DataDir(), "pg_wal", size.FileName(1, size.SegmentNo(begin))))
	require.NoError(t, err)
	require.Equal(t, want[:len(got)], got)
	require.GreaterOrEqual(t, r.ServerEnd(), end)

	reported.Store(uint64(end))
	r.Report()
	seen := func() bool {
		row, err := server.QueryValue(ctx, "SELECT flush_lsn || ' ' || replay_lsn FROM pg_stat_replication WHERE application_name = 'tap'")
		return err == nil && row == end.String()+" "+end.String()
	}
	require.Eventually(t, seen, patience, 5*time.Millisecond)
}

func TestCommand(t *testing.T) {
	term := wal.Term(9)
	for want, o := range map[string]Options{
		"START_REPLICATION PHYSICAL 1/A0":                                       {},
		`START_REPLICATION SLOT "a""b" PHYSICAL 1/A0 TIMELINE 2`:                {Slot: `a"b`, TLI: 2},
		"START_REPLICATION PHYSICAL 1/A0 (term='9')":                            {Term: &term},
		`START_REPLICATION SLOT "walhaven" PHYSICAL 1/A0 TIMELINE 7 (term='9')`: {Slot: "walhaven", TLI: 7, Term: &term},
	} {
		require.Equal(t, want, command(0x1000000A0, o))
		_, err := admin.ParseReplication(want)
		require.NoError(t, err)
	}
}

// nextTimeline answers as a server whose timeline is over.
func nextTimeline(w *protocol.ResultWriter, tli int64, at string) error {
	if err := w.Columns(protocol.Column{Name: "next_tli", Type: admin.TypeInt8}, protocol.Column{Name: "next_tli_startpos"}); err != nil {
		return err
	}
	if err := w.Row(tli, at); err != nil {
		return err
	}
	if err := w.Complete("START_STREAMING"); err != nil {
		return err
	}
	return w.Complete("START_REPLICATION")
}

func TestEndOfTimeline(t *testing.T) {
	c := connect(t, func(_ context.Context, _ string, w *protocol.ResultWriter) error {
		s, err := w.CopyBoth()
		if err != nil {
			return err
		}
		if err := sendWAL(s, 0x100, "wal"); err != nil {
			return err
		}
		return nextTimeline(w, 2, "0/103")
	})
	r := start(t, c, 0x100, Options{})
	at, data, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, wal.LSN(0x100), at)
	require.Equal(t, "wal", string(data))
	for range 2 { // and again
		_, _, err = r.Next()
		var end *EndOfTimeline
		require.ErrorAs(t, err, &end)
		require.Equal(t, EndOfTimeline{Next: 2, Start: 0x103}, *end)
	}

	// Without any stream.
	c = connect(t, func(_ context.Context, _ string, w *protocol.ResultWriter) error { return nextTimeline(w, 3, "1/0") })
	_, err = Start(within(t), c, 0x100, Options{TLI: 1})
	var end *EndOfTimeline
	require.ErrorAs(t, err, &end)
	require.Equal(t, EndOfTimeline{Next: 3, Start: 1 << 32}, *end)
}

// TestShortStreamIsReported: a stream that ends at once has told the server where
// its reader is all the same.
func TestShortStreamIsReported(t *testing.T) {
	for range 100 {
		reported := make(chan walstream.StatusUpdate, 1)
		c := connect(t, func(_ context.Context, _ string, w *protocol.ResultWriter) error {
			s, err := w.CopyBoth()
			if err != nil {
				return err
			}
			if err := s.CloseSend(); err != nil {
				return err
			}
			if m, err := receiveStatus(s); err == nil {
				reported <- m
			}
			close(reported)
			return nextTimeline(w, 2, "0/100")
		})
		r := start(t, c, 0x100, Options{})
		_, _, err := r.Next()
		var end *EndOfTimeline
		require.ErrorAs(t, err, &end)
		m, ok := <-reported
		require.True(t, ok, "nothing was reported")
		require.Equal(t, wal.LSN(0x100), m.Write)
		require.NoError(t, r.Close())
		require.NoError(t, c.Close())
	}
}

func TestServerEndsTheStream(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*protocol.CopyStream) error
		want func(error) bool
	}{
		"error":           {func(*protocol.CopyStream) error { return protocol.Errorf("58P01", "gone") }, func(err error) bool { return protocol.SQLState(err) == "58P01" }},
		"shutdown":        {(*protocol.CopyStream).SendShutdown, func(err error) bool { return errors.Is(err, protocol.ErrStreamComplete) }},
		"end without TLI": {func(*protocol.CopyStream) error { return nil }, func(err error) bool { return errors.Is(err, protocol.ErrStreamComplete) }},
		"gap":             {func(s *protocol.CopyStream) error { return until(s, sendWAL(s, 0x200, "x")) }, func(err error) bool { return err.Error() == "server sent WAL of 0/200, expected 0/100" }},
		"unknown type":    {func(s *protocol.CopyStream) error { return until(s, errors.Join(s.Send([]byte("?")), s.Flush())) }, func(err error) bool { return err.Error() == `server sent a message of unknown type '?'` }},
		"malformed":       {func(s *protocol.CopyStream) error { return until(s, errors.Join(s.Send([]byte("w")), s.Flush())) }, func(err error) bool { return errors.Is(err, walstream.ErrMalformed) }},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, connect(t, func(_ context.Context, _ string, w *protocol.ResultWriter) error {
				s, err := w.CopyBoth()
				if err != nil {
					return err
				}
				return c.end(s)
			}), 0x100, Options{})
			_, _, err := r.Next()
			require.Error(t, err)
			require.True(t, c.want(err), err)
			require.True(t, r.Buffered())
		})
	}
}

// until keeps the stream open until the client is gone.
func until(s *protocol.CopyStream, err error) error {
	for err == nil {
		_, err = s.Receive()
	}
	return err
}

// inBubble runs f with a receiver whose time is the bubble's and the server's
// end of its stream.
func inBubble(t *testing.T, o Options, f func(t *testing.T, r *Receiver, server *protocol.CopyStream)) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := protocol.NewCopyStream(context.Background(), far, protocol.StreamOptions{Server: true})
		r, err := Start(context.Background(), pipe{near}, 0x100, o)
		require.NoError(t, err)
		defer func() {
			_ = server.Close()
			_ = r.Close()
		}()
		f(t, r, server)
	})
}

// inBackground yields until the stream ends and returns what ended it.
func inBackground(r *Receiver) <-chan error {
	ended := make(chan error, 1)
	go func() {
		for {
			if _, _, err := r.Next(); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

// TestPace: a server that asks again with each answer gets no more than one
// answer in 10 ms while nothing changes; a change is reported at once.
func TestPace(t *testing.T) {
	var position atomic.Uint64
	o := Options{Positions: func() Positions { return Positions{Flush: wal.LSN(position.Load())} }}
	inBubble(t, o, func(t *testing.T, r *Receiver, server *protocol.CopyStream) {
		ended := inBackground(r)
		_, err := receiveStatus(server)
		require.NoError(t, err)
		for range 10 {
			began := time.Now()
			require.NoError(t, sendKeepalive(server, 0x500, true))
			_, err := receiveStatus(server)
			require.NoError(t, err)
			require.Equal(t, pace, time.Since(began))
		}
		began := time.Now()
		position.Store(77)
		r.Report()
		m, err := receiveStatus(server)
		require.NoError(t, err)
		require.Equal(t, wal.LSN(77), m.Flush)
		require.Zero(t, time.Since(began))
		require.Equal(t, wal.LSN(0x500), r.ServerEnd())
		require.NoError(t, server.Close())
		require.Error(t, <-ended)
	})
}

// TestInterval: unchanged positions are reported all the same.
func TestInterval(t *testing.T) {
	inBubble(t, Options{Interval: 3 * time.Second}, func(t *testing.T, _ *Receiver, server *protocol.CopyStream) {
		began := time.Now()
		for n := range 3 {
			_, err := receiveStatus(server)
			require.NoError(t, err)
			require.Equal(t, time.Duration(n)*3*time.Second, time.Since(began))
		}
	})
}

// TestSilentServer is asked for a message, and given up when it does not answer.
func TestSilentServer(t *testing.T) {
	inBubble(t, Options{Interval: time.Hour}, func(t *testing.T, r *Receiver, server *protocol.CopyStream) {
		ended := inBackground(r)
		began := time.Now()
		m, err := receiveStatus(server)
		require.NoError(t, err)
		require.False(t, m.ReplyRequested)
		for n := range 2 {
			m, err := receiveStatus(server)
			require.NoError(t, err)
			require.True(t, m.ReplyRequested)
			require.Equal(t, time.Duration(n+1)*30*time.Second, time.Since(began))
			require.NoError(t, sendKeepalive(server, 0x100, false))
		}
		m, err = receiveStatus(server)
		require.NoError(t, err)
		require.True(t, m.ReplyRequested)
		require.ErrorIs(t, <-ended, ErrTimeout)
		require.Equal(t, 120*time.Second, time.Since(began))
	})
}

// TestFeedback rides behind status updates.
func TestFeedback(t *testing.T) {
	got := make(chan pushwal.PageserverFeedback, 1)
	c := connect(t, func(_ context.Context, _ string, w *protocol.ResultWriter) error {
		s, err := w.CopyBoth()
		if err != nil {
			return err
		}
		if _, err = receiveStatus(s); err != nil {
			return err
		}
		payload, err := s.Receive()
		if err != nil {
			return err
		}
		block, err := walstream.DecodePageserverFeedback(payload)
		if err != nil {
			return err
		}
		var m pushwal.PageserverFeedback
		if err := pushwal.DecodePageserverFeedback(block, &m); err != nil {
			return err
		}
		got <- m
		return until(s, nil)
	})
	want := pushwal.PageserverFeedback{DiskConsistent: 5, Active: pushwal.Active}
	start(t, c, 0x100, Options{Feedback: func() *pushwal.PageserverFeedback { return &want }})
	select {
	case m := <-got:
		require.Equal(t, want, m)
	case <-within(t).Done():
		t.Fatal("no feedback")
	}
}

// pipe is a Streamer whose server never reads or writes.
type pipe struct{ conn net.Conn }

func (p pipe) Stream(ctx context.Context, _ string) (*protocol.CopyStream, *protocol.Result, error) {
	return protocol.NewCopyStream(ctx, p.conn, protocol.StreamOptions{}), nil, nil
}

// TestStalledServer: neither cancellation nor Close waits for it, though a
// status update is stuck.
func TestStalledServer(t *testing.T) {
	for _, how := range []string{"cancel", "close"} {
		client, server := net.Pipe()
		defer server.Close()
		ctx, cancel := context.WithCancelCause(context.Background())
		r, err := Start(ctx, pipe{client}, 0x100, Options{})
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() {
			_, _, err := r.Next()
			ended <- err
		}()
		began := time.Now()
		cause := fmt.Errorf("%s in this test", how)
		if how == "cancel" {
			cancel(cause)
			require.ErrorIs(t, <-ended, cause)
		}
		require.NoError(t, errors.Join(ignoreClosed(r.Close()), ignoreClosed(r.Close())))
		if how == "close" {
			require.ErrorIs(t, <-ended, net.ErrClosed)
		}
		require.Less(t, time.Since(began), patience)
		cancel(nil)
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}
