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
	require.Less(t, time.Since(r.LastHeard()), patience)

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
		require.True(t, errors.As(err, &end), err)
		require.Equal(t, EndOfTimeline{Next: 2, Start: 0x103}, *end)
	}

	// Without any stream.
	c = connect(t, func(_ context.Context, _ string, w *protocol.ResultWriter) error { return nextTimeline(w, 3, "1/0") })
	_, err = Start(within(t), c, 0x100, Options{TLI: 1})
	var end *EndOfTimeline
	require.True(t, errors.As(err, &end), err)
	require.Equal(t, EndOfTimeline{Next: 3, Start: 1 << 32}, *end)
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

// TestPace: a server that asks again with each answer gets no more than one
// answer in 10 ms while nothing changes; a change is reported at once.
func TestPace(t *testing.T) {
	const asked = 10
	var took time.Duration
	changed := make(chan walstream.StatusUpdate, 1)
	var position atomic.Uint64
	c := connect(t, func(_ context.Context, _ string, w *protocol.ResultWriter) error {
		s, err := w.CopyBoth()
		if err != nil {
			return err
		}
		if _, err := receiveStatus(s); err != nil {
			return err
		}
		began := time.Now()
		for range asked {
			if err := sendKeepalive(s, 0x500, true); err != nil {
				return err
			}
			if _, err := receiveStatus(s); err != nil {
				return err
			}
		}
		took = time.Since(began)
		if err := sendWAL(s, 0x100, "now"); err != nil {
			return err
		}
		m, err := receiveStatus(s)
		changed <- m
		return until(s, err)
	})
	r := start(t, c, 0x100, Options{Positions: func() Positions { return Positions{Flush: wal.LSN(position.Load())} }})
	_, data, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "now", string(data))
	require.Equal(t, wal.LSN(0x103), r.ServerEnd())
	require.GreaterOrEqual(t, took, (asked-1)*pace)

	position.Store(77)
	r.Report()
	require.Equal(t, wal.LSN(77), (<-changed).Flush)
}

// TestInterval: unchanged positions are reported all the same.
func TestInterval(t *testing.T) {
	enough := make(chan struct{})
	c := connect(t, func(_ context.Context, _ string, w *protocol.ResultWriter) error {
		s, err := w.CopyBoth()
		for n := 0; err == nil; n++ {
			if n == 3 {
				close(enough)
			}
			_, err = receiveStatus(s)
		}
		return err
	})
	start(t, c, 0x100, Options{Interval: 5 * time.Millisecond})
	select {
	case <-enough:
	case <-within(t).Done():
		t.Fatal("no reports")
	}
}

// TestSilentServer is asked for a message, and given up when it does not answer.
func TestSilentServer(t *testing.T) {
	pings := make(chan struct{}, 100)
	c := connect(t, func(_ context.Context, _ string, w *protocol.ResultWriter) error {
		s, err := w.CopyBoth()
		for n := 0; err == nil; {
			var m walstream.StatusUpdate
			if m, err = receiveStatus(s); err == nil && m.ReplyRequested {
				if pings <- struct{}{}; n < 2 {
					n++
					err = sendKeepalive(s, 0x100, false)
				}
			}
		}
		return err
	})
	r := start(t, c, 0x100, Options{Timeout: 100 * time.Millisecond})
	_, _, err := r.Next()
	require.ErrorIs(t, err, ErrTimeout)
	require.Len(t, pings, 3, "answered twice, then not")
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
		require.Less(t, time.Since(began), time.Second)
		cancel(nil)
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}
