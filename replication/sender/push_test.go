package sender_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/replication/sender"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// pushLog is a timeline in memory.
type pushLog struct {
	mu       sync.Mutex
	base     wal.LSN
	oldest   wal.LSN
	data     []byte
	commit   wal.LSN
	history  wal.TimelineHistory
	advanced chan struct{}
}

func newPushLog(base wal.LSN, n int) *pushLog {
	l := &pushLog{base: base, oldest: base, commit: base, history: wal.TimelineHistory{Last: 1}, advanced: make(chan struct{})}
	for i := range n {
		l.data = append(l.data, byte(i*7+i>>8))
	}
	return l
}

func (l *pushLog) setCommit(lsn wal.LSN) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commit = lsn
	close(l.advanced)
	l.advanced = make(chan struct{})
}

func (l *pushLog) setHistory(h wal.TimelineHistory) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history = h
}

func (l *pushLog) ReadAt(p []byte, at wal.LSN) (int, error) {
	if at < l.oldest {
		return 0, walstore.ErrRemoved
	}
	if at >= l.base+wal.LSN(len(l.data)) {
		return 0, io.EOF
	}
	return copy(p, l.data[at-l.base:]), nil
}
func (l *pushLog) Oldest() wal.LSN { return l.oldest }
func (l *pushLog) CommitLSN() wal.LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commit
}

func (l *pushLog) History() wal.TimelineHistory {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.history
}

func (l *pushLog) WaitCommit(ctx context.Context, after wal.LSN) (wal.LSN, error) {
	for {
		l.mu.Lock()
		commit, advanced := l.commit, l.advanced
		l.mu.Unlock()
		if commit > after {
			return commit, nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return commit, ctx.Err()
		}
	}
}

// pageserver is the scripted other side of a push session.
type fakePageserver struct {
	t      *testing.T
	log    *pushLog
	stream *protocol.CopyStream
	codec  pushwal.Codec
	hello  pushwal.ProposerGreeting
	result chan error
	end    context.CancelFunc // asks the pusher to end
}

func startPush(t *testing.T, l *pushLog, last wal.LSN, options *pushwal.AcceptorOptions) *fakePageserver {
	t.Helper()
	ours, theirs := net.Pipe()
	hard, cut := context.WithCancel(context.Background())
	ctx, end := context.WithCancel(context.Background())
	f := &fakePageserver{
		t: t, log: l, end: end, result: make(chan error, 1),
		stream: protocol.NewCopyStream(hard, theirs, protocol.StreamOptions{Server: true}),
		codec:  pushwal.Codec{Version: pushwal.Version3, Walhaven: true},
	}
	pusher := protocol.NewCopyStream(hard, ours, protocol.StreamOptions{})
	go func() {
		f.result <- sender.Push(ctx, pusher, sender.PushOptions{
			Source: l, Logger: slog.New(slog.DiscardHandler), Heartbeat: 50 * time.Millisecond, Silence: time.Minute, Drain: time.Minute,
			Greeting: pushwal.ProposerGreeting{SystemID: 1, PGVersion: 150020, SegmentSize: 1 << 20, Start: l.base + 40, NodeID: 3, Name: "main"},
		})
	}()
	t.Cleanup(func() {
		end()
		cut()
		_ = f.stream.Close()
		if f.result != nil {
			<-f.result
		}
	})
	require.NoError(t, f.codec.DecodeProposerGreeting(f.receive(), &f.hello))
	if options != nil {
		options.LastRecordLSN = last
	}
	f.send(f.codec.AppendAcceptorGreeting(nil, &pushwal.AcceptorGreeting{NodeID: 9, Options: options}))
	return f
}

func walhaven() *pushwal.AcceptorOptions { return &pushwal.AcceptorOptions{Walhaven: 1, TLI: 1} }

func (f *fakePageserver) send(msg []byte) {
	f.t.Helper()
	require.NoError(f.t, f.stream.Send(msg))
	require.NoError(f.t, f.stream.Flush())
}

func (f *fakePageserver) receive() []byte {
	f.t.Helper()
	msg, err := f.stream.Receive()
	require.NoError(f.t, err)
	return msg
}

// frame returns the next request; it must be right in every respect.
func (f *fakePageserver) frame() (m pushwal.AppendRequest) {
	f.t.Helper()
	require.NoError(f.t, f.codec.DecodeAppendRequest(f.receive(), &m))
	require.NoError(f.t, m.CheckCRC())
	if len(m.WAL) > 0 {
		require.LessOrEqual(f.t, m.End, m.CommitLSN, "only committed bytes")
		require.Equal(f.t, f.log.data[m.Begin-f.log.base:m.End-f.log.base], m.WAL)
		require.Equal(f.t, m.TLI, f.hello.TLIHistory.TLIAt(m.Begin))
		require.Equal(f.t, m.TLI, f.hello.TLIHistory.TLIAt(m.End-1))
	}
	return m
}

// nextWAL skips heartbeats.
func (f *fakePageserver) nextWAL() pushwal.AppendRequest {
	f.t.Helper()
	for {
		if m := f.frame(); len(m.WAL) > 0 {
			return m
		}
	}
}

func (f *fakePageserver) report(write, flush wal.LSN, active pushwal.Activity) {
	f.t.Helper()
	f.send(walstream.AppendStatusUpdate(nil, &walstream.StatusUpdate{Write: write, Flush: flush, Apply: flush}))
	f.send(walstream.AppendPageserverFeedback(nil, pushwal.AppendPageserverFeedback(nil, &pushwal.PageserverFeedback{Active: active})))
}

func (f *fakePageserver) wait() error {
	f.t.Helper()
	select {
	case err := <-f.result:
		f.result = nil
		return err
	case <-time.After(time.Minute):
		f.t.Fatal("the session did not end")
		return nil
	}
}

func TestPushSendsWhatIsCommittedAndNoMore(t *testing.T) {
	l := newPushLog(0x500000, 1<<20)
	l.setCommit(0x500000 + 300_001)
	f := startPush(t, l, 0, walhaven())
	require.Equal(t, wal.TLI(1), f.hello.TLIHistory.Last)
	f.report(0, 0, pushwal.Active)
	pos := l.base
	for pos < l.CommitLSN() {
		m := f.nextWAL()
		require.Equal(t, pos, m.Begin)
		pos = m.End
	}
	require.Empty(t, f.frame().WAL, "then heartbeats")
	l.setCommit(0x500000 + 300_009)
	m := f.nextWAL()
	require.Equal(t, wal.Range{Start: pos, End: pos + 8}, wal.Range{Start: m.Begin, End: m.End})
}

func TestStandByPusherSendsNothing(t *testing.T) {
	l := newPushLog(0x500000, 1<<20)
	f := startPush(t, l, 0, walhaven())
	f.report(0, 0, pushwal.StandBy)
	l.setCommit(0x500000 + 500_000)
	for range 3 {
		require.Empty(t, f.frame().WAL)
	}
	require.Equal(t, l.CommitLSN(), f.frame().CommitLSN, "its commit position is announced")

	// Made active it begins with the page that holds the last byte received.
	f.report(l.base+100_000, l.base+90_000, pushwal.Active)
	require.Equal(t, (l.base + 99_999).PageStart(), f.nextWAL().Begin)
}

func TestPushStopsAtTheEndOfATimeline(t *testing.T) {
	l := newPushLog(0x500000, 1<<20)
	l.history = wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: l.base + 200_000}}}
	l.setCommit(l.base + 400_000)
	f := startPush(t, l, 0, walhaven())
	f.report(0, 0, pushwal.Active)
	for pos := l.base; pos < l.CommitLSN(); {
		m := f.nextWAL() // checks the timeline of the first and the last byte
		pos = m.End
	}
	l.setHistory(wal.TimelineHistory{Last: 3, Ancestors: append(l.history.Ancestors, wal.HistoryEntry{TLI: 2, Switch: l.base + 400_000})})
	require.ErrorIs(t, drainFrames(f), sender.ErrHistoryChanged)
}

// drainFrames reads until the session ends, so that the pusher is not held up.
func drainFrames(f *fakePageserver) error {
	go func() {
		for {
			if _, err := f.stream.Receive(); err != nil {
				return
			}
		}
	}()
	return f.wait()
}

func TestPushEndsOnlyWhenTheReceiverIsDurable(t *testing.T) {
	l := newPushLog(0x500000, 1<<20)
	l.setCommit(l.base + 100_000)
	f := startPush(t, l, 0, walhaven())
	f.report(0, 0, pushwal.Active)
	require.Equal(t, l.base, f.nextWAL().Begin)
	l.setCommit(l.base + 200_000)
	f.end()
	m := f.nextWAL()
	for m.End < l.CommitLSN() {
		m = f.nextWAL()
	}
	f.report(m.End, l.base+150_000, pushwal.Active)
	select {
	case err := <-f.result:
		t.Fatal("the session ended before the receiver was durable:", err)
	case <-time.After(100 * time.Millisecond):
	}
	f.send(walstream.AppendStatusUpdate(nil, &walstream.StatusUpdate{Write: m.End, Flush: m.End, Apply: m.End}))
	require.NoError(t, drainFrames(f))
}

func TestPushToWhatIsNoPageserver(t *testing.T) {
	f := startPush(t, newPushLog(0x500000, 1<<20), 0, nil)
	require.ErrorIs(t, f.wait(), sender.ErrNotWalhaven)
}

func TestPushNamesTheGap(t *testing.T) {
	l := newPushLog(0x500000, 1<<20)
	l.oldest = l.base + 0x80000
	l.setCommit(l.base + 900_000)
	f := startPush(t, l, l.base+1000, walhaven())
	f.report(l.base+1000, 0, pushwal.Active)
	var gap *sender.PushGapError
	require.ErrorAs(t, drainFrames(f), &gap)
	require.Equal(t, sender.PushGapError{Need: l.base, Oldest: l.oldest}, *gap)
}

func TestPushTellsTheReceiversWords(t *testing.T) {
	l := newPushLog(0x500000, 1<<20)
	f := startPush(t, l, 0, walhaven())
	go func() { _ = f.stream.SendError(protocol.Errorf(protocol.CodeDiskFull, "disk is full")) }()
	require.ErrorContains(t, drainFrames(f), "disk is full")
}

// A timeline that was founded and has no WAL yet is no error: the session waits.
func TestPushOfAnEmptyTimelineWaits(t *testing.T) {
	l := newPushLog(0x500000, 0)
	l.setCommit(l.base + 40)
	f := startPush(t, l, 0, walhaven())
	f.report(0, 0, pushwal.Active)
	for range 3 {
		require.Empty(t, f.frame().WAL)
	}
}
