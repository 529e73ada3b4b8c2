package walproposer

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/ownthread"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// streaming is a connection to a safekeeper that streams, without the goroutine
// that sends, and the safekeeper's end.
func streaming(t *testing.T, q *shmqueue.Local, at wal.LSN) (c *pushConn, peer *protocol.CopyStream) {
	t.Helper()
	ownthread.Allow(1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	b, err := ln.Accept()
	require.NoError(t, err)
	stream := protocol.NewCopyStream(context.Background(), a, protocol.StreamOptions{})
	stream.OwnThread()
	peer = protocol.NewCopyStream(context.Background(), b, protocol.StreamOptions{Server: true})
	term := newTestTerm()
	c = &pushConn{t: term.pushing(q, newMetrics(prometheus.NewRegistry())), stream: stream, link: term.open(0), codec: wireCodec}
	t.Cleanup(func() { _, _ = stream.Close(), peer.Close() })
	require.NoError(t, c.begin(&streamStart{at: at, term: 1, generation: 1, history: wal.TimelineHistory{Last: 1}}))
	require.NoError(t, c.pump(context.Background(), false))
	return c, peer
}

// streamingQueue is streaming with a queue of its own.
func streamingQueue(t *testing.T) (q *shmqueue.Local, c *pushConn, peer *protocol.CopyStream) {
	t.Helper()
	q, err := shmqueue.NewLocal(shmqueue.Options{Size: 64 << 20, Start: 1 << 20})
	require.NoError(t, err)
	t.Cleanup(q.Close)
	c, peer = streaming(t, q, 1<<20)
	return q, c, peer
}

// takesWAL receives frames until all up to end came, and returns their bytes.
func takesWAL(t *testing.T, peer *protocol.CopyStream, at, end wal.LSN) (all []byte) {
	t.Helper()
	for at < end {
		payload, err := peer.Receive()
		require.NoError(t, err)
		var r pushwal.AppendRequest
		require.NoError(t, wireCodec.DecodeAppendRequest(payload, &r))
		require.NoError(t, r.CheckCRC())
		require.Equal(t, at, r.Begin)
		all, at = append(all, r.WAL...), r.End
	}
	return all
}

// Whoever puts WAL into the queue sends it, as long as that does not mean to
// wait; the sending goroutine does the rest, and then it goes on.
func TestWALIsSentByWhoeverPutsItIntoTheQueue(t *testing.T) {
	q, c, peer := streamingQueue(t)
	start := c.at
	var want []byte
	write := func(n int) {
		data := bytes.Repeat([]byte{byte(len(want) >> 8)}, n)
		require.NoError(t, q.Write(context.Background(), data))
		want = append(want, data...)
	}
	woken := func() bool {
		select {
		case <-c.consumer.Wake():
			return true
		default:
			return false
		}
	}
	for range 3 {
		write(150)
		require.False(t, woken())
		require.Equal(t, q.Head(), c.at)
	}
	require.Equal(t, want, takesWAL(t, peer, start, q.Head()))

	c.turn.Lock() // The sending goroutine is at work.
	write(150)
	require.True(t, woken(), "it is told")
	c.turn.Unlock()
	require.NoError(t, c.pump(context.Background(), false))
	write(directFrame + 1)
	require.True(t, woken(), "a long piece is not sent directly")
	require.NoError(t, c.pump(context.Background(), false))
	write(150)
	require.False(t, woken())

	for range 4000 { // Nobody reads, and there is room for so much only.
		if write(8000); woken() {
			break
		}
	}
	require.True(t, c.unwritten || c.at < q.Head())
	pumped := make(chan error, 1)
	go func() { pumped <- c.pump(context.Background(), false) }()
	require.True(t, bytes.Equal(want[450:], takesWAL(t, peer, start+450, q.Head())))
	require.NoError(t, <-pumped)
	write(150)
	require.False(t, woken(), "it goes on")
	require.Equal(t, want[len(want)-150:], takesWAL(t, peer, q.Head()-150, q.Head()))

	c.turn.Lock() // For good: the connection has ended.
	write(150)
	require.True(t, woken())
}

// WAL for a spare safekeeper is kept back for a moment, and goes with a later write,
// or when the safekeeper is needed.
func TestWALForASpareSafekeeperIsKeptBack(t *testing.T) {
	q, c, peer := streamingQueue(t)
	start := c.at
	s := c.t.spares
	s.voter = nodeOf
	s.follow(members(3))
	comes := func(peer int, hurry chan<- struct{}) {
		s.comes(peer, spareConn{hurry: hurry, trip: c.roundTrip, waits: c.sent.Oldest})
	}
	for other := 1; other < 3; other++ {
		comes(other, make(chan struct{}, 1))
	}
	c.hurry = make(chan struct{}, 1)
	comes(0, c.hurry)
	write := func(n int) { require.NoError(t, q.Write(t.Context(), make([]byte, n))) }
	kept := func(want bool) {
		t.Helper()
		require.Equal(t, want, c.at < q.Head())
	}

	c.last = soon()
	write(150)
	write(150)
	kept(true)
	c.last = time.Now().Add(-spareWait)
	write(150)
	kept(false)
	takesWAL(t, peer, start, q.Head())

	c.last = soon()
	write(150)
	kept(true)
	s.leaves(1, s.conns[1].hurry)
	require.Len(t, c.hurry, 1, "it is needed now")
	require.NoError(t, c.pump(t.Context(), false)) // the sending goroutine's
	kept(false)
	comes(1, make(chan struct{}, 1))
	comes(0, c.hurry)

	c.last = soon()
	for range 4 * directFrame / 8000 {
		if write(8000); c.at == q.Head() || len(c.consumer.Wake()) > 0 {
			break
		}
	}
	require.LessOrEqual(t, uint64(q.Head()-c.at), uint64(directFrame+8000), "much is not kept back")
	require.Len(t, c.consumer.Wake(), 1, "and is left to the sending goroutine")
}
