package walproposer

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/wal"
)

// listen connects a reporter to the server's end of a stream.
func listen(t *testing.T) (*reporter, *protocol.CopyStream) {
	t.Helper()
	ours, theirs := net.Pipe()
	client := protocol.NewCopyStream(context.Background(), ours, protocol.StreamOptions{})
	server := protocol.NewCopyStream(context.Background(), theirs, protocol.StreamOptions{Server: true})
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	r := newReporter(newMetrics(nil))
	r.attach(client)
	return r, server
}

func anyReport(t *testing.T, s *protocol.CopyStream) walstream.StatusUpdate {
	t.Helper()
	payload, err := s.Receive()
	require.NoError(t, err)
	var u walstream.StatusUpdate
	require.NoError(t, walstream.DecodeStatusUpdate(payload, &u))
	require.Equal(t, u.Write, u.Flush)
	return u
}

// nextReport is of a reporter by which all is the quorum's.
func nextReport(t *testing.T, s *protocol.CopyStream) walstream.StatusUpdate {
	t.Helper()
	u := anyReport(t, s)
	require.Equal(t, u.Write, u.Apply)
	return u
}

func TestReportsNeverFallAndTheLastOneIsTheHighest(t *testing.T) {
	r, server := listen(t)
	const top = 2000
	g := new(errgroup.Group)
	for w := range 4 {
		g.Go(func() error {
			for l := wal.LSN(w + 1); l <= top; l += 4 {
				r.report(l)
			}
			return nil
		})
	}
	var last wal.LSN
	for last < top {
		u := nextReport(t, server)
		require.GreaterOrEqual(t, u.Flush, last)
		last = u.Flush
	}
	require.EqualValues(t, top, last)
	// Whoever was overtaken may report it once more.
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for {
			if _, err := server.Receive(); err != nil {
				return
			}
		}
	}()
	require.NoError(t, g.Wait())
	_ = server.Close()
	<-drained
}

func TestNothingIsReportedBeforeACommit(t *testing.T) {
	r, server := listen(t)
	g := new(errgroup.Group)
	g.Go(func() error { r.again(); return nil })
	require.Zero(t, nextReport(t, server).Flush)
	require.NoError(t, g.Wait())
}

func TestRequestedAnswersAreLimitedWhileNothingChanges(t *testing.T) {
	r, server := listen(t)
	var mu sync.Mutex
	count := 0
	g := new(errgroup.Group)
	g.Go(func() error {
		for {
			if _, err := server.Receive(); err != nil {
				return nil //nolint:nilerr // Closed by the test.
			}
			mu.Lock()
			count++
			mu.Unlock()
		}
	})
	began := time.Now()
	for again := true; again; again = time.Since(began) < 100*time.Millisecond {
		r.requested()
	}
	r.report(7)
	r.requested() // The position changed: answered at once.
	took := time.Since(began)
	_ = server.Close()
	require.NoError(t, g.Wait())
	mu.Lock()
	defer mu.Unlock()
	require.LessOrEqual(t, count, int(took/answerEvery)+3)
	require.GreaterOrEqual(t, count, 2)
}

// With --apply-source=pageserver what a pageserver has counts as applied, and
// never more than the quorum has; write and flush are the quorum's all the same.
func TestApplyFollowsThePageserver(t *testing.T) {
	r, s := listen(t)
	r.follow = true
	after := func(f func()) []wal.LSN {
		done := make(chan struct{})
		go func() {
			defer close(done)
			f()
		}()
		u := anyReport(t, s)
		<-done
		return []wal.LSN{u.Write, u.Flush, u.Apply}
	}
	require.Equal(t, []wal.LSN{100, 100, 0}, after(func() { r.report(100) }), "nothing heard of a pageserver")
	require.Equal(t, []wal.LSN{100, 100, 60}, after(func() { r.ingested(60) }))
	require.Equal(t, []wal.LSN{100, 100, 100}, after(func() { r.ingested(200) }), "the quorum has no more")
	r.ingested(50)
	require.Equal(t, []wal.LSN{300, 300, 200}, after(func() { r.report(300) }), "it never falls")
}
