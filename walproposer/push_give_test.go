package walproposer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/internal/ownthread"
	"github.com/walhaven/walhaven/internal/seqpacket"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// giving is a tap's side of a worker whose connection streams from start on, the
// worker's end of the pair, both ends of its connection, and the queue.
type giving struct {
	t      *testing.T
	term   *term
	worker *pairConn
	socket *os.File
	peer   *protocol.CopyStream
	raw    net.Conn
	queue  *shmqueue.Local
	ended  chan error // of the driver
}

const givingStart = wal.LSN(1 << 20)

func newGiving(t *testing.T) *giving {
	t.Helper()
	ownthread.Allow(1)
	q, err := shmqueue.NewLocal(shmqueue.Options{Size: shmqueue.MinSize, Start: givingStart})
	require.NoError(t, err)
	g := &giving{t: t, term: newTestTerm(), queue: q, ended: make(chan error, 1)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	g.raw, err = ln.Accept()
	require.NoError(t, err)
	g.socket, err = a.(*net.TCPConn).File()
	require.NoError(t, errors.Join(err, a.Close()))
	g.peer = protocol.NewCopyStream(context.Background(), g.raw, protocol.StreamOptions{Server: true})

	ours, theirs := pairOfConns(t)
	g.worker = theirs
	d := newDriver(g.term, 0, ours)
	d.own = g.term.pushing(q, newMetrics(prometheus.NewRegistry()))
	ctx, cancel := context.WithCancel(context.Background())
	go func() { g.ended <- d.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		theirs.close()
		require.Error(t, <-g.ended)
		q.Close()
		_, _ = g.peer.Close(), g.socket.Close()
	})
	say(t, g.worker, pairMessage{kind: pairOpen, conn: 1})
	await(t, g.worker, pairSend) // our greeting
	d.mu.Lock()
	d.start = &streamStart{at: givingStart, term: 3, generation: 1, history: wal.TimelineHistory{Last: 1}}
	d.mu.Unlock()
	return g
}

// give gives the connection as a worker does that has sent all up to at, and read
// so much.
func (g *giving) give(at wal.LSN, pending []byte) {
	g.t.Helper()
	body := append(binary.LittleEndian.AppendUint64(nil, uint64(at)), pending...)
	require.NoError(g.t, g.worker.send(pairMessage{kind: pairGive, conn: 1, body: body}, g.socket))
	require.NoError(g.t, g.socket.Close())
}

// A connection that keeps up goes to the tap, which sends from the queue itself
// and takes the answers; nothing that the worker had read is lost, and what the
// proposer says meanwhile goes to the safekeeper, once.
func TestConnectionGoesToTheTap(t *testing.T) {
	g := newGiving(t)
	sent := bytes.Repeat([]byte("a"), 100)
	require.NoError(t, g.queue.Write(t.Context(), sent))
	say(t, g.worker, pairMessage{kind: pairOffer, conn: 1})
	require.EqualValues(t, 1, await(t, g.worker, pairAskFor).conn)
	// The safekeeper's greeting makes the proposer ask for a vote. One half of it the
	// worker has read, the other half comes later.
	frame := append(binary.BigEndian.AppendUint32([]byte{'d'}, uint32(4+len(testGreeting))), testGreeting...)
	g.give(g.queue.Head(), frame[:9])
	require.NoError(t, g.queue.Write(t.Context(), []byte("behind it")))
	require.Equal(t, "behind it", string(takesWAL(t, g.peer, givingStart+100, g.queue.Head())))
	_, err := g.raw.Write(frame[9:])
	require.NoError(t, err)
	for {
		payload, err := g.peer.Receive()
		require.NoError(t, err)
		if pushwal.Kind(payload) == pushwal.KindVote {
			break
		}
	}
	require.Len(t, g.term.d.Configuration().Members, 1)
	// The worker hears of the end, and of nothing that was for the safekeeper.
	require.NoError(t, g.peer.Close())
	for {
		m, _, err := g.worker.receive(longSilence)
		require.NoError(t, err)
		require.NotEqual(t, pairSend, m.kind, "%q", m.body)
		if m.kind == pairDrop {
			break
		}
	}
	say(t, g.worker, pairMessage{kind: pairOpen, conn: 2})
	require.EqualValues(t, 2, await(t, g.worker, pairSend).conn)
}

// What the proposer has to say between asking for a connection and having it
// waits: the worker has it no more in its hands what comes first.
func TestNothingIsSaidToTheWorkerOnceItsConnectionIsAskedFor(t *testing.T) {
	g := newGiving(t)
	say(t, g.worker, pairMessage{kind: pairOffer, conn: 1})
	await(t, g.worker, pairAskFor)
	say(t, g.worker, pairMessage{kind: pairReceived, conn: 1, body: testGreeting})
	// The answer to the next question shows that the greeting was dealt with.
	say(t, g.worker, pairMessage{kind: pairAsk, conn: 7, body: []byte("{}")})
	for {
		m, _, err := g.worker.receive(longSilence)
		require.NoError(t, err)
		require.NotEqual(t, pairSend, m.kind)
		if m.kind == pairLogin {
			break
		}
	}
	g.give(givingStart, nil)
	payload, err := g.peer.Receive()
	require.NoError(t, err)
	require.EqualValues(t, pushwal.KindVote, pushwal.Kind(payload))
}

// The tap feeds nobody: who needs more than the queue has is the worker's.
func TestConnectionBehindTheQueueGoesBack(t *testing.T) {
	g := newGiving(t)
	say(t, g.worker, pairMessage{kind: pairOffer, conn: 1})
	await(t, g.worker, pairAskFor)
	data := make([]byte, 2*shmqueue.MinSize)
	g.queue.Release(givingStart + wal.LSN(len(data)))
	require.NoError(t, g.queue.Write(t.Context(), data))
	g.give(givingStart, nil)
	require.Contains(t, string(await(t, g.worker, pairDrop).body), "has to be fed")
	for err := error(nil); err == nil; {
		_, err = g.peer.Receive()
	}
}

// A safekeeper that hangs just when its connection is given is noticed, though it
// takes nothing any more and so holds up whoever sends.
func TestSafekeeperThatHangsWhenItsConnectionIsGivenIsNoticed(t *testing.T) {
	t.Parallel() // It takes silentFor.
	ownthread.Allow(1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	socket, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	hanging, err := ln.Accept()
	require.NoError(t, err)
	defer hanging.Close()
	f, err := socket.(*net.TCPConn).File()
	require.NoError(t, err)
	fd := int(f.Fd()) // Asking again would make it block.
	require.NoError(t, unix.SetNonblock(fd, true))
	for _, piece := range []int{1 << 16, 1} {
		for err == nil {
			_, err = unix.Write(fd, make([]byte, piece))
		}
		require.ErrorIs(t, err, unix.EAGAIN)
		err = nil
	}
	// What the kernel still moves to the other side then makes no room.
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1))
	require.NoError(t, f.Close())

	q, err := shmqueue.NewLocal(shmqueue.Options{Size: shmqueue.MinSize, Start: givingStart})
	require.NoError(t, err)
	defer q.Close()
	ours, theirs := pairOfConns(t)
	defer ours.close()
	defer theirs.close()
	d := newDriver(newTestTerm(), 0, ours)
	d.own = d.t.pushing(q, newMetrics(prometheus.NewRegistry()))
	l := d.t.open(0)
	defer l.close()
	l.resume = &streamStart{at: givingStart, term: 3, generation: 1, history: wal.TimelineHistory{Last: 1}}
	ctx, cancel := context.WithTimeout(t.Context(), longSilence)
	defer cancel()
	require.ErrorIs(t, d.goOn(ctx, socket, nil, l), os.ErrDeadlineExceeded)
}

// The end of a worker is that of the connection it gave.
func TestGivenConnectionEndsWithItsWorker(t *testing.T) {
	for name, end := range map[string]func(*giving){
		"it dies":           func(g *giving) { g.worker.close() },
		"it wants no more":  func(g *giving) { say(g.t, g.worker, pairMessage{kind: pairClosed, conn: 1}) },
		"it opens another":  func(g *giving) { say(g.t, g.worker, pairMessage{kind: pairOpen, conn: 2}) },
		"it talks nonsense": func(g *giving) { say(g.t, g.worker, pairMessage{kind: pairSend, conn: 1, body: []byte("x")}) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGiving(t)
			say(t, g.worker, pairMessage{kind: pairOffer, conn: 1})
			await(t, g.worker, pairAskFor)
			g.give(givingStart, nil)
			_, err := g.peer.Receive()
			require.NoError(t, err)
			end(g)
			for err == nil {
				_, err = g.peer.Receive()
			}
		})
	}
}

// Whatever comes as a connection is looked at: a worker is not to be trusted with
// the tap.
func TestWhatIsNoConnectionIsRefused(t *testing.T) {
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	for name, f := range map[string][]*os.File{"nothing": nil, "a file": {null}, "two": {null, null}} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := pairOfConns(t)
			defer theirs.close()
			require.NoError(t, theirs.send(pairMessage{kind: pairGive, conn: 1, body: make([]byte, 8)}, f...))
			require.ErrorContains(t, newDriver(newTestTerm(), 0, ours).run(t.Context()), "connection")
		})
	}
	t.Run("one that was not asked for", func(t *testing.T) {
		g := newGiving(t)
		g.give(givingStart, nil)
		_, err := g.peer.Receive()
		require.ErrorIs(t, err, protocol.ErrPeerClosed)
	})
}

// That a connection was given is no progress of its safekeeper: one that takes
// connections and no WAL is left alone for longer and longer.
func TestConnectionThatWasGivenIsNoProgressByItself(t *testing.T) {
	ownthread.Allow(1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	served := make(chan error, 1)
	go func() { served <- takesOneConnection(ln) }()
	tapSide, workerSide := pairOfConns(t)
	defer tapSide.close()
	defer workerSide.close()
	r := newRemoteDirector(workerSide)
	ctx, cancel := context.WithCancel(t.Context())
	listening := make(chan error, 1)
	go func() { listening <- r.listen(ctx) }()
	p := &pushing{
		director: r, metrics: newMetrics(prometheus.NewRegistry()), logger: slog.New(slog.DiscardHandler),
		peers: &peers{conninfos: []string{"user=u dbname=d sslmode=disable host=127.0.0.1 port=" + strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)}},
	}
	type outcome struct {
		progressed bool
		err        error
	}
	ended := make(chan outcome, 1)
	go func() {
		progressed, err := newPusher(p, 0).connect(ctx)
		ended <- outcome{progressed, err}
	}()
	await(t, tapSide, pairOpen)
	say(t, tapSide, pairMessage{kind: pairAskFor, conn: 1})
	for {
		m, files, err := tapSide.receive(longSilence)
		require.NoError(t, err)
		seqpacket.Close(files)
		if m.kind == pairGive {
			break
		}
	}
	say(t, tapSide, pairMessage{kind: pairDrop, conn: 1, body: []byte("its disk is full")})
	o := <-ended
	require.ErrorContains(t, o.err, "its disk is full")
	require.False(t, o.progressed)
	require.NoError(t, <-served, "nobody holds the connection any more")
	cancel()
	tapSide.close()
	require.Error(t, <-listening)
}

// takesOneConnection starts a stream as a safekeeper does, and waits for its end.
func takesOneConnection(ln net.Listener) error {
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return err
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if err := b.Flush(); err != nil {
		return err
	}
	if _, err := b.Receive(); err != nil {
		return err
	}
	b.Send(&pgproto3.CopyBothResponse{})
	if err := b.Flush(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}
