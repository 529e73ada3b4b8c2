package sender

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// client is the other end, message by message.
type client struct {
	t *testing.T
	*protocol.CopyStream
	patience time.Duration
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, conninfo string) *replication.Client {
	t.Helper()
	c, err := replication.Connect(within(t), conninfo, replication.DialOptions{Params: map[string]string{"replication": "true"}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func stream(t *testing.T, conninfo, command string) client {
	t.Helper()
	s, _, err := connect(t, conninfo).Stream(within(t), command)
	require.NoError(t, err)
	require.NotNil(t, s)
	t.Cleanup(func() { _ = s.Close() })
	return client{t, s, patience}
}

// message returns the next message of a kind and skips others.
func (c client) message(kind byte) []byte {
	c.t.Helper()
	c.SetReadIdle(c.patience)
	for {
		payload, err := c.Receive()
		require.NoError(c.t, err)
		if walstream.Kind(payload) == kind {
			return payload
		}
	}
}

func (c client) data() walstream.XLogData {
	c.t.Helper()
	var m walstream.XLogData
	require.NoError(c.t, walstream.DecodeXLogData(c.message(walstream.KindXLogData), &m))
	return m
}

func (c client) keepalive() walstream.Keepalive {
	c.t.Helper()
	var m walstream.Keepalive
	require.NoError(c.t, walstream.DecodeKeepalive(c.message(walstream.KindKeepalive), &m))
	return m
}

// upto collects WAL from start to end and checks that frames follow each other,
// are no longer than allowed and keep to segments.
func (c client) upto(start, end wal.LSN) []byte {
	c.t.Helper()
	var got []byte
	for at := start; at < end; at = start + wal.LSN(len(got)) {
		m := c.data()
		require.Equal(c.t, at, m.Start)
		require.LessOrEqual(c.t, len(m.Data), walstream.MaxData)
		last := m.Start + wal.LSN(len(m.Data)) - 1
		require.Equal(c.t, testSize.SegmentNo(m.Start), testSize.SegmentNo(last), "a frame crosses segments")
		if last+1 < m.WALEnd {
			require.Zero(c.t, (last+1)%wal.BlockSize, "a frame that is not the last ends at a page")
		}
		require.LessOrEqual(c.t, last+1, end, "more was sent than may be")
		got = append(got, m.Data...)
	}
	return got
}

func (c client) report(m walstream.StatusUpdate) {
	c.t.Helper()
	require.NoError(c.t, c.Send(walstream.AppendStatusUpdate(nil, &m)))
	require.NoError(c.t, c.Flush())
}

// failure reads up to the server's error.
func (c client) failure() *protocol.Error {
	c.t.Helper()
	c.SetReadIdle(c.patience)
	for {
		_, err := c.Receive()
		var refused *protocol.Error
		if errors.As(err, &refused) {
			return refused
		}
		require.NoError(c.t, err)
	}
}

func TestCommittedStream(t *testing.T) {
	m := newMemory(3*int(testSize) + 777)
	all := m.base + wal.LSN(len(m.bytes))
	m.commit = m.base + 1_000_000
	conninfo := serve(t, Options{Source: m})
	c := stream(t, conninfo, "START_REPLICATION PHYSICAL "+(m.base+100).String()+" TIMELINE 1")
	got := c.upto(m.base+100, m.commit)
	require.True(t, bytes.Equal(m.bytes[100:1_000_000], got))

	m.update(func(m *memory) { m.commit = all })
	got = c.upto(m.base+1_000_000, all)
	require.True(t, bytes.Equal(m.bytes[1_000_000:], got))

	// The client ends it: CopyDone both ways, two command tags, and the session
	// is usable again.
	require.NoError(t, c.Handshake())
	res, err := c.ReadResult()
	require.NoError(t, err)
	require.Equal(t, []string{"START_STREAMING", "START_REPLICATION"}, res.Tags)
	require.Empty(t, res.Rows)
}

// TestNothingUncommitted is the guard of invariant "sends to nobody but a
// recovering proposer what is not committed".
func TestNothingUncommitted(t *testing.T) {
	m := newMemory(100_000)
	m.commit = m.base + 50_000
	conninfo := serve(t, Options{Source: m})
	c := stream(t, conninfo, "START_REPLICATION "+m.base.String())
	c.upto(m.base, m.commit)
	c.report(walstream.StatusUpdate{ReplyRequested: true})
	c.SetReadIdle(patience)
	payload, err := c.Receive()
	require.NoError(t, err)
	require.EqualValues(t, walstream.KindKeepalive, walstream.Kind(payload), "WAL beyond the commit position was sent")

	// The term's reader does get it.
	r := stream(t, conninfo, "START_REPLICATION PHYSICAL "+m.base.String()+" (term='1')")
	require.Equal(t, m.bytes, r.upto(m.base, m.flush))
}

func TestTermStreamEndsWithItsTerm(t *testing.T) {
	m := newMemory(1000)
	conninfo := serve(t, Options{Source: m})
	e := stream(t, conninfo, "START_REPLICATION "+m.base.String()+" (term='2')").failure()
	require.Equal(t, "failed to acquire term 2, current term 1", e.Message)

	c := stream(t, conninfo, "START_REPLICATION "+m.base.String()+" (term='1')")
	c.upto(m.base, m.flush)
	m.update(func(m *memory) { m.term = 2 })
	require.Contains(t, c.failure().Message, "failed to acquire term")
}

// TestPositionErrors: texts, codes and whether they come before or inside the
// stream are PostgreSQL's.
func TestPositionErrors(t *testing.T) {
	m := newMemory(5 * int(testSize))
	m.oldest = m.base + wal.LSN(testSize)
	m.history = wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: m.base + 2*wal.LSN(testSize) + 500}}}
	conninfo := serve(t, Options{Source: m})
	for _, c := range []struct {
		command, code, text, detail string
		inside                      bool
	}{
		{"START_REPLICATION 7/0", "XX000", "requested starting point 7/0 is ahead of the WAL flush position of this server 0/800000", "", true},
		{"START_REPLICATION 0/300000", "58P01", "requested WAL segment 000000010000000000000003 has already been removed", "", true},
		{"START_REPLICATION 0/400000 TIMELINE 3", "XX000", "requested timeline 3 is not in this server's history", "", false},
		{"START_REPLICATION 0/600000 TIMELINE 1", "XX000", "requested starting point 0/600000 on timeline 1 is not in this server's history", "This server's history forked from timeline 1 at 0/5001F4.", false},
	} {
		s, _, err := connect(t, conninfo).Stream(within(t), c.command)
		require.Equal(t, c.inside, err == nil, c.command)
		if c.inside {
			e := client{t, s, patience}.failure()
			require.Equal(t, c.code, e.Code)
			require.Equal(t, c.text, e.Message)
			require.NoError(t, s.Close())
			continue
		}
		var e *pgconn.PgError
		require.ErrorAs(t, err, &e)
		require.Equal(t, []string{c.code, c.text, c.detail}, []string{e.Code, e.Message, e.Detail})
	}
}

// TestTimelineSwitch: a historic timeline is sent exactly to its end, then
// CopyDone, and only after the client's the row that names the next.
func TestTimelineSwitch(t *testing.T) {
	m := newMemory(300_000)
	end := m.base + 123_456
	m.history = wal.TimelineHistory{Last: 3, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: end}}}
	conninfo := serve(t, Options{Source: m})
	c := stream(t, conninfo, "START_REPLICATION "+m.base.String()+" TIMELINE 1")
	require.Equal(t, m.bytes[:123_456], c.upto(m.base, end))
	_, err := c.Receive()
	require.ErrorIs(t, err, io.EOF)
	c.report(walstream.StatusUpdate{Write: end}) // ignored
	require.NoError(t, c.Handshake())
	requireNext(t, end, c.ReadResult)

	// Exactly at the switch point there is no stream at all.
	s, res, err := connect(t, conninfo).Stream(within(t), "START_REPLICATION "+end.String()+" TIMELINE 1")
	require.NoError(t, err)
	require.Nil(t, s)
	requireNext(t, end, func() (protocol.Result, error) { return *res, nil })

	// The next timeline is served from before the switch.
	c = stream(t, conninfo, "START_REPLICATION "+m.base.String()+" TIMELINE 3")
	require.Equal(t, m.bytes, c.upto(m.base, m.commit))
}

func requireNext(t *testing.T, start wal.LSN, read func() (protocol.Result, error)) {
	t.Helper()
	res, err := read()
	require.NoError(t, err)
	require.Equal(t, []string{"next_tli", "next_tli_startpos"}, res.Columns)
	require.Equal(t, [][][]byte{{[]byte("3"), []byte(start.String())}}, res.Rows)
	require.Equal(t, []string{"START_STREAMING", "START_REPLICATION"}, res.Tags)
}

// TestTimelineEndsWhileStreaming is a promotion under a connected standby.
func TestTimelineEndsWhileStreaming(t *testing.T) {
	m := newMemory(200_000)
	end := m.base + 150_000
	m.commit = end
	conninfo := serve(t, Options{Source: m})
	c := stream(t, conninfo, "START_REPLICATION "+m.base.String()+" TIMELINE 1")
	c.upto(m.base, end)
	m.update(func(m *memory) {
		m.history = wal.TimelineHistory{Last: 3, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: end}}}
		m.commit = m.flush
	})
	c.SetReadIdle(patience)
	_, err := c.Receive()
	require.ErrorIs(t, err, io.EOF, "not a byte of the next timeline")
	require.NoError(t, c.Handshake())
	requireNext(t, end, c.ReadResult)
}

func TestReports(t *testing.T) {
	m := newMemory(1000)
	statuses := make(chan walstream.StatusUpdate, 10)
	standbys := make(chan walstream.HotStandbyFeedback, 10)
	pageservers := make(chan pushwal.PageserverFeedback, 10)
	conninfo := serve(t, Options{
		Source:       m,
		OnStatus:     func(m *walstream.StatusUpdate) { statuses <- *m },
		OnHotStandby: func(m *walstream.HotStandbyFeedback) { standbys <- *m },
		OnPageserver: func(m *pushwal.PageserverFeedback) { pageservers <- *m },
	})
	c := stream(t, conninfo, "START_REPLICATION "+m.base.String())
	// Flush ahead of write, ahead of anything sent: all of it is normal.
	want := walstream.StatusUpdate{Write: 5, Flush: 1 << 40, Apply: 7, ReplyRequested: true}
	c.report(want)
	require.Equal(t, want, <-statuses)
	k := c.keepalive()
	require.False(t, k.ReplyRequested)
	require.Equal(t, m.commit, k.WALEnd)

	standby := walstream.HotStandbyFeedback{Xmin: 700}
	require.NoError(t, c.Send(walstream.AppendHotStandbyFeedback(nil, &standby)))
	feedback := pushwal.PageserverFeedback{DiskConsistent: 9}
	require.NoError(t, c.Send(walstream.AppendPageserverFeedback(nil, pushwal.AppendPageserverFeedback(nil, &feedback))))
	require.NoError(t, c.Flush())
	require.Equal(t, standby, <-standbys)
	require.Equal(t, feedback, <-pageservers)

	require.NoError(t, c.Send([]byte("?")))
	require.NoError(t, c.Flush())
	require.Equal(t, protocol.CodeProtocolViolation, c.failure().Code)
}

// inBubble runs f with the client's end of a session whose time is the bubble's.
func inBubble(t *testing.T, o Options, f func(t *testing.T, c client, began time.Time)) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(1000)
		o.Source = m
		o.setDefaults()
		near, far := net.Pipe()
		c := client{t, protocol.NewCopyStream(context.Background(), near, protocol.StreamOptions{}), time.Hour}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s := &session{o: o, tli: 1, at: m.commit}
			stream := protocol.NewCopyStream(context.Background(), far, protocol.StreamOptions{Server: true})
			if err := s.run(context.Background(), stream); err != nil {
				_ = stream.SendError(protocol.Errorf(protocol.SQLState(err), "%v", err))
			}
			_ = stream.Close()
		}()
		defer func() {
			_ = c.Close()
			<-ended
		}()
		f(t, c, time.Now())
	})
}

// TestSilentClient is asked for a message after half the timeout and dropped
// after all of it; one that answers stays.
func TestSilentClient(t *testing.T) {
	inBubble(t, Options{Timeout: 60 * time.Second, Keepalive: time.Hour}, func(t *testing.T, c client, began time.Time) {
		for n := range 3 {
			require.True(t, c.keepalive().ReplyRequested)
			require.Equal(t, time.Duration(n+1)*30*time.Second, time.Since(began))
			c.report(walstream.StatusUpdate{})
		}
		require.True(t, c.keepalive().ReplyRequested)
		_, err := c.Receive()
		require.ErrorContains(t, err, "replication timeout")
		require.Equal(t, 150*time.Second, time.Since(began))
	})
}

// TestIdleKeepalive: a client that hears nothing for too long would give up.
func TestIdleKeepalive(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, c client, began time.Time) {
		for n := range 2 {
			require.False(t, c.keepalive().ReplyRequested)
			require.Equal(t, time.Duration(n+1)*10*time.Second, time.Since(began))
		}
	})
}

// TestClientThatDoesNotRead is listened to all the same, and does not outlive
// its session's cancellation by more than a second.
func TestClientThatDoesNotRead(t *testing.T) {
	m := newMemory(1 << 20)
	statuses := make(chan walstream.StatusUpdate, 1)
	o := Options{
		Source:   m,
		OnSent:   func(at wal.LSN) { t.Errorf("sent up to %s to a client that reads nothing", at) },
		OnStatus: func(m *walstream.StatusUpdate) { statuses <- *m },
	}
	o.setDefaults()
	client, server := net.Pipe() // takes nothing that is not read
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		s := &session{o: o, tli: 1, at: m.base}
		stream := protocol.NewCopyStream(ctx, server, protocol.StreamOptions{Server: true})
		ended <- s.run(ctx, stream)
		_ = stream.Close()
	}()
	message := walstream.AppendStatusUpdate([]byte{'d', 0, 0, 0, 4 + walstream.StatusUpdateSize}, &walstream.StatusUpdate{Write: 42})
	_, err := client.Write(message)
	require.NoError(t, err)
	require.Equal(t, wal.LSN(42), (<-statuses).Write)

	began := time.Now()
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Less(t, time.Since(began), patience)
}

// TestNoAllocationPerFrame is what a sender costs that is catching up.
func TestNoAllocationPerFrame(t *testing.T) {
	m := newMemory(1 << 20)
	client, server := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, client) }()
	defer client.Close()
	o := Options{Source: m}
	o.setDefaults()
	s := &session{o: o, tli: 1, at: m.base, buf: make([]byte, walstream.MaxData)}
	s.idle = time.AfterFunc(time.Hour, func() {})
	defer s.idle.Stop()
	s.stream = protocol.NewCopyStream(context.Background(), server, protocol.StreamOptions{Server: true})
	defer s.stream.Close()
	alloctest.None(t, 50, func() {
		s.at = m.base
		limit, _, err := s.limit()
		if err == nil {
			err = s.sendWAL(limit)
		}
		if err != nil {
			panic(err)
		}
	})
}

// serveOne is serve with the means to cancel and to see what Serve returned.
func serveOne(t *testing.T, o Options, served chan<- error) (conninfo string, cancel context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return serveWith(t, func(_ context.Context, w *protocol.ResultWriter, r Request) error {
		err := Serve(ctx, w, r, o)
		served <- err
		return err
	}), cancel
}

// TestShutdown: what is committed is sent, the confirmation awaited, and the
// end announced as PostgreSQL does it, without CopyDone.
func TestShutdown(t *testing.T) {
	m := newMemory(300_000)
	drain := make(chan struct{})
	conninfo := serve(t, Options{Source: m, Drain: drain})
	c := stream(t, conninfo, "START_REPLICATION "+m.base.String())
	close(drain)
	require.Equal(t, m.bytes, c.upto(m.base, m.commit))
	require.True(t, c.keepalive().ReplyRequested)
	c.report(walstream.StatusUpdate{Write: m.commit, Flush: m.commit - 1})
	c.report(walstream.StatusUpdate{Write: m.commit, Flush: m.commit})
	c.SetReadIdle(patience)
	_, err := c.Receive()
	require.ErrorIs(t, err, protocol.ErrStreamComplete)

	// A client that confirms nothing does not hold the server up for long.
	conninfo = serve(t, Options{Source: m, Drain: drain, DrainTimeout: 10 * time.Millisecond})
	c = stream(t, conninfo, "START_REPLICATION "+m.base.String())
	c.upto(m.base, m.commit)
	require.True(t, c.keepalive().ReplyRequested)
	_, err = c.Receive()
	require.ErrorIs(t, err, protocol.ErrStreamComplete)
}

func TestClientGoesAway(t *testing.T) {
	m := newMemory(1000)
	served := make(chan error, 1)
	conninfo, _ := serveOne(t, Options{Source: m}, served)
	c := stream(t, conninfo, "START_REPLICATION "+m.base.String())
	c.upto(m.base, m.commit)
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-served, protocol.ErrPeerClosed)
}
