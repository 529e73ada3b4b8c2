package walproposer

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/seqpacket"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// longSilence is far above what anything here takes.
const longSilence = time.Minute

// newTestTerm is a proposer for one safekeeper.
func newTestTerm() *term {
	d := replication.NewProposing(replication.ProposingOptions{Config: consensus.ProposerConfig{
		ID: wal.TTID{Tenant: wal.TenantID{1}, Timeline: wal.TimelineID{2}}, SystemID: 7, PGVersion: 150000,
		SegmentSize: wal.DefaultSegmentSize, TLIHistory: wal.TimelineHistory{Last: 1}, Instance: pushwal.Instance{1}, Peers: 1,
	}})
	return newTerm(d, &peers{conninfos: []string{"host=127.0.0.1 port=1"}}, newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
}

var testGreeting = wireCodec.AppendAcceptorGreeting(nil, &pushwal.AcceptorGreeting{
	NodeID: 1, Config: pushwal.Configuration{Generation: 1, Members: []pushwal.Member{{ID: 1}}},
	Options: &pushwal.AcceptorOptions{Walhaven: 1},
})

// driven runs a driver and returns the worker's end of its pair.
func driven(t *testing.T, term *term) *pairConn {
	t.Helper()
	ours, theirs := pairOfConns(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- newDriver(term, 0, ours).run(ctx) }()
	t.Cleanup(func() {
		cancel()
		theirs.close()
		<-done
	})
	return theirs
}

// await skips to the next message of that kind.
func await(t *testing.T, p *pairConn, kind pairKind) pairMessage {
	t.Helper()
	for {
		m, _, err := p.receive(longSilence)
		require.NoError(t, err)
		if m.kind == kind {
			return *m
		}
	}
}

func say(t *testing.T, p *pairConn, m pairMessage) {
	t.Helper()
	require.NoError(t, p.send(m))
}

// What a worker still says of a connection that it has replaced is void: the
// safekeeper at the other end of it may have restarted in between.
func TestMessagesOfAnOlderConnectionAreVoid(t *testing.T) {
	term := newTestTerm()
	worker := driven(t, term)
	say(t, worker, pairMessage{kind: pairOpen, conn: 1})
	require.EqualValues(t, 1, await(t, worker, pairSend).conn)
	say(t, worker, pairMessage{kind: pairOpen, conn: 2})
	require.EqualValues(t, 2, await(t, worker, pairSend).conn, "our greeting, first on each connection")
	say(t, worker, pairMessage{kind: pairReceived, conn: 1, body: testGreeting})
	// What cannot be read costs the connection; the answer shows that everything
	// before was dealt with.
	say(t, worker, pairMessage{kind: pairReceived, conn: 2, body: []byte("zz")})
	require.EqualValues(t, 2, await(t, worker, pairDrop).conn)
	require.Empty(t, term.d.Configuration().Members, "the greeting was taken for the newer connection's")

	say(t, worker, pairMessage{kind: pairOpen, conn: 3})
	await(t, worker, pairSend)
	say(t, worker, pairMessage{kind: pairReceived, conn: 3, body: testGreeting})
	require.EqualValues(t, pushwal.KindVote, pushwal.Kind(await(t, worker, pairSend).body), "then votes are asked for")
}

func TestWorkerThatSpeaksNonsenseIsGivenUp(t *testing.T) {
	for name, m := range map[string]pairMessage{
		"a message of the tap's":      {kind: pairSend, conn: 1, body: []byte("x")},
		"a number that does not rise": {kind: pairOpen, conn: 0},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := pairOfConns(t)
			defer theirs.close()
			say(t, theirs, m)
			require.Error(t, newDriver(newTestTerm(), 0, ours).run(t.Context()))
		})
	}
}

// A worker's slot is not used again before its process is gone for certain: the
// kernel may still be sending what it pinned.
func TestSlotStaysTakenUntilTheWorkerIsReaped(t *testing.T) {
	said := make(chan message, 16)
	crew := newProcesses(1, func(m message) { said <- m })
	q, err := crew.queue(shmqueue.Options{Size: shmqueue.MinSize})
	require.NoError(t, err)
	defer func() {
		q.Close()
		require.NoError(t, q.Free())
	}()
	theirs, f, err := seqpacket.Pair()
	require.NoError(t, err)
	worker := newPairConn(theirs, "walproposer/worker/send")
	say(t, worker, pairMessage{kind: pairHello})
	id := workerID{Peer: 0, Number: 1}
	require.NoError(t, crew.arrived(id, f))
	require.Equal(t, &id, (<-said).Registered)

	term := newTestTerm()
	s := &session{term: term, peers: term.peers}
	used := make(chan error, 1)
	h := <-crew.idle[0]
	go func() { used <- crew.use(t.Context(), s, 0, h) }()
	_, files, err := worker.receive(longSilence)
	require.NoError(t, err)
	require.Len(t, files, shmqueue.Files)
	seqpacket.Close(files)
	worker.close() // it died
	require.Equal(t, &id, (<-said).Kill, "the supervisor makes sure")
	select {
	case <-used:
		t.Fatal("the slot was given back while the process may still run")
	case <-time.After(300 * time.Millisecond):
	}
	crew.mu.Lock()
	require.Len(t, crew.slots, 1)
	crew.mu.Unlock()
	crew.gone(id)
	require.Error(t, <-used)
	require.Empty(t, crew.slots)
}

// A worker says what its safekeeper said, and nothing on its own account.
func TestDirectorOfAWorkerCarriesMessages(t *testing.T) {
	tapSide, workerSide := pairOfConns(t)
	r := newRemoteDirector(workerSide)
	listening := make(chan error, 1)
	go func() { listening <- r.listen(t.Context()) }()
	l, err := r.connect(0)
	require.NoError(t, err)
	require.EqualValues(t, 1, await(t, tapSide, pairOpen).conn)
	start := streamStart{at: 5, term: 3, generation: 1, history: wal.TimelineHistory{Last: 1}}
	say(t, tapSide, pairMessage{kind: pairSend, conn: 0, body: []byte("of an older connection")})
	say(t, tapSide, pairMessage{kind: pairSend, conn: 1, body: []byte("vote")})
	say(t, tapSide, pairMessage{kind: pairStart, conn: 1, start: start})
	say(t, tapSide, pairMessage{kind: pairPositions, state: pairState{positions: positions{commit: 9, truncate: 8}, donor: 0, donorUpto: 7, quorum: true}})
	var got pushWork
	require.Eventually(t, func() bool {
		w, err := l.take()
		require.NoError(t, err)
		got.messages = append(got.messages, w.messages...)
		if w.start != nil {
			got.start = w.start
		}
		return r.positions().commit == 9 && got.start != nil
	}, longSilence, time.Millisecond)
	require.Equal(t, [][]byte{[]byte("vote")}, got.messages)
	require.Equal(t, start, *got.start)
	peer, upto, ok := r.donor()
	require.True(t, ok && r.quorum() && peer == 0 && upto == 7)
	require.NoError(t, l.received([]byte("an answer")))
	require.Equal(t, "an answer", string(await(t, tapSide, pairReceived).body))
	say(t, tapSide, pairMessage{kind: pairDrop, conn: 1, body: []byte("enough")})
	require.Eventually(t, func() bool {
		_, err := l.take()
		return err != nil
	}, longSilence, time.Millisecond)
	l.close()
	require.EqualValues(t, 1, await(t, tapSide, pairClosed).conn)
	tapSide.close()
	require.ErrorIs(t, <-listening, errTapGone)
}

// senderOf is a link that somebody is about to wait on, beside the goroutine that
// listens else.
func senderOf(t *testing.T) (tapSide *pairConn, r *remoteDirector, l link, listening chan error) {
	t.Helper()
	tapSide, workerSide := pairOfConns(t)
	r = newRemoteDirector(workerSide)
	listening = make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		err := r.listen(ctx)
		cancel()
		listening <- err
	}()
	l, err := r.connect(0)
	require.NoError(t, err)
	require.EqualValues(t, 1, await(t, tapSide, pairOpen).conn)
	t.Cleanup(func() {
		cancel()
		tapSide.close()
		workerSide.close()
	})
	return tapSide, r, l, listening
}

// takes waits on l until a message satisfies f.
func takes(t *testing.T, l link, f func(pushWork) bool) {
	t.Helper()
	for {
		w, err := l.take()
		require.NoError(t, err)
		if f(w) {
			return
		}
		require.NoError(t, l.wait(t.Context(), waits{}))
	}
}

// Who sends hears the tap itself, and what others heard before it began to; when
// it has other things to do, listen goes on. Nothing is lost in between.
func TestSenderAndListenerTakeTurns(t *testing.T) {
	tapSide, r, l, listening := senderOf(t)
	for i := range 200 {
		said := []byte{byte(i)}
		say(t, tapSide, pairMessage{kind: pairSend, conn: 1, body: said})
		takes(t, l, func(w pushWork) bool { return len(w.messages) == 1 && w.messages[0][0] == said[0] })
		commit := wal.LSN(i + 1)
		say(t, tapSide, pairMessage{kind: pairRing, state: pairState{positions: positions{commit: commit}}})
		takes(t, l, func(pushWork) bool { return r.positions().commit == commit })
		if i%3 == 0 {
			l.rest()
		}
	}
	say(t, tapSide, pairMessage{kind: pairPositions, state: pairState{positions: positions{commit: 5}, donor: -1}})
	takes(t, l, func(w pushWork) bool { return w.announce })
	require.EqualValues(t, 200, r.positions().commit, "positions never go back")
	l.close()
	tapSide.close()
	require.ErrorIs(t, <-listening, errTapGone)
}

// The end of the tap ends the worker, whoever listened, and the end of a
// connection its sender.
func TestEndWhileTheSenderListens(t *testing.T) {
	t.Run("tap", func(t *testing.T) {
		tapSide, _, l, listening := senderOf(t)
		ctx, cancel := context.WithCancel(t.Context())
		waited := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				err = l.wait(ctx, waits{})
			}
			waited <- err
		}()
		tapSide.close()
		require.ErrorIs(t, <-listening, errTapGone)
		cancel()
		require.ErrorIs(t, <-waited, context.Canceled)
	})
	t.Run("nonsense", func(t *testing.T) {
		tapSide, _, l, listening := senderOf(t)
		ctx, cancel := context.WithCancel(t.Context())
		waited := make(chan error, 1)
		go func() { waited <- l.wait(ctx, waits{}) }()
		say(t, tapSide, pairMessage{kind: pairHello})
		require.ErrorContains(t, <-listening, "the tap sends")
		cancel()
		<-waited
	})
	t.Run("connection", func(t *testing.T) {
		_, _, l, _ := senderOf(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		var err error
		for err == nil {
			err = l.wait(ctx, waits{})
		}
		require.ErrorIs(t, err, context.Canceled)
		l.close()
	})
}

// A worker that reads nothing holds up neither the bell nor the positions.
func TestRingingWaitsForNobody(t *testing.T) {
	ours, theirs := pairOfConns(t)
	defer theirs.close()
	defer ours.close()
	d := newDriver(newTestTerm(), 0, ours)
	for range 1 << 16 {
		d.ring()
	}
	require.False(t, ours.trySend(pairMessage{kind: pairRing}), "its queue is full")
	m, _, err := theirs.receive(longSilence)
	require.NoError(t, err)
	require.Equal(t, pairRing, m.kind)
}

// A worker that asks for the login of nobody's safekeeper is told so.
func TestLoginOfAnUnknownSafekeeperIsRefused(t *testing.T) {
	tokens := newTestTerm().tokens
	for _, request := range []string{"-1", "1", "{}", ""} {
		require.Contains(t, string(tokens.answer(t.Context(), []byte(request))), `"error":`, request)
	}
}
