package replication

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	require.Eventually(t, what, patience, time.Millisecond)
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// TestPushSession is a whole exchange of a proposer of ours.
func TestPushSession(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	g := p.greet()
	require.EqualValues(t, 1, g.NodeID)
	require.NotNil(t, g.Options, "our options are answered")
	require.EqualValues(t, 1, g.Config.Generation)

	p.askVote(3)
	v := p.vote()
	require.True(t, v.VoteGiven)
	require.Equal(t, testStart, v.FlushLSN)

	history := pushwal.TermHistory{{Term: 0, LSN: testStart}, {Term: 3, LSN: testStart}}
	p.elected(3, testBase, history)
	data := someWAL(5000)
	end := testBase + wal.LSN(len(data))
	p.append(3, testBase, data, 0)
	r := p.response()
	require.Equal(t, end, r.FlushLSN)
	require.Equal(t, testStart, n.CommitLSN(), "nothing is committed yet")

	p.append(3, end, nil, end)
	p.response()
	commit, err := n.WaitCommit(within(t), end-1)
	require.NoError(t, err)
	require.Equal(t, end, commit)

	got := make([]byte, len(data))
	_, err = n.ReadAt(got, testBase)
	require.NoError(t, err)
	require.Equal(t, data, got)

	s := n.Status()
	require.Equal(t, testInstance, s.Writer)
	require.GreaterOrEqual(t, s.WriterAge, time.Duration(0))
	require.EqualValues(t, 3, s.LastLogTerm)
	require.Equal(t, history, s.History)

	require.NoError(t, p.stream.CloseSend())
	require.NoError(t, p.result())
}

// TestNeonSession is the exchange with Neon's proposer, which gets exactly the
// bytes that its strict parser takes.
func TestNeonSession(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, pushwal.Codec{Version: pushwal.Version3})
	require.Nil(t, p.greet().Options)
	p.askVote(1)
	require.True(t, p.vote().VoteGiven)
	p.elected(1, testStart, pushwal.TermHistory{{Term: 0, LSN: testStart}, {Term: 1, LSN: testStart}})
	data := someWAL(5000)
	p.append(1, testStart, data[testStart-testBase:], 0)
	require.Equal(t, testBase+wal.LSN(len(data)), p.response().FlushLSN)
	require.NoError(t, p.conn.Close())
	require.NoError(t, p.result(), "an end of file is how proposers end")
}

// TestNoAnswerBeforeSync: while the disk is held back, no answer leaves and the
// flush position stays, though the bytes are written.
func TestNoAnswerBeforeSync(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	p.append(1, testBase, nil, 0)
	p.response()
	release := n.log.hold()
	defer release()
	before := n.log.syncs.Load()
	data := someWAL(5000)
	p.append(1, testBase, data, 0)
	waitFor(t, func() bool { return n.log.syncs.Load() > before })
	require.Equal(t, testBase+wal.LSN(len(data)), n.log.Positions().Write, "written")
	require.Equal(t, testStart, n.FlushLSN(), "not durable")
	require.False(t, p.stream.Buffered())
	answered := make(chan *pushwal.AppendResponse, 1)
	go func() { answered <- p.response() }()
	select {
	case <-answered:
		t.Fatal("answered before the sync")
	case <-time.After(50 * time.Millisecond): // the negative needs a moment to be wrong in
	}
	release()
	require.Equal(t, testBase+wal.LSN(len(data)), (<-answered).FlushLSN)
}

// TestVoteIsPersistedFirst: a vote whose state could not be saved is not given,
// and the acceptor knows nothing of it afterwards.
func TestVoteIsPersistedFirst(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.greet()
	broken := errors.New("no space in this test")
	n.log.saveErr.Store(&broken)
	p.askVote(5)
	require.ErrorIs(t, p.result(), broken)
	require.Zero(t, n.Status().Term, "the acceptor is what the disk says")

	n.log.saveErr.Store(nil)
	again := n.connect(t, ours)
	again.greet()
	again.askVote(1)
	require.True(t, again.vote().VoteGiven)
	require.EqualValues(t, 1, n.Status().Term)
}

// TestFailedCheckpoint: only positions are not on disk then, which no answer
// rests on. The session goes on, and the next checkpoint saves them.
func TestFailedCheckpoint(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	data := someWAL(5000)
	end := testBase + wal.LSN(len(data))
	p.append(1, testBase, data, 0)
	require.Equal(t, end, p.response().FlushLSN)
	n.Report(testStart, 0)
	broken := errors.New("no space in this test")
	n.log.saveErr.Store(&broken)
	require.ErrorIs(t, n.Checkpoint(), broken)
	require.ErrorIs(t, n.Checkpoint(), broken, "it is still to be saved")
	n.log.saveErr.Store(nil)
	p.append(1, end, nil, 0)
	require.Equal(t, end, p.response().FlushLSN)
	require.NoError(t, n.Checkpoint())
	var saved consensus.State
	require.NoError(t, saved.UnmarshalBinary(n.log.Control().State))
	require.Equal(t, testStart, saved.RemoteConsistentLSN)
}

// TestHistoryKeepsItsReasons: messages carry none, and what pg_receivewal makes
// of a history file is what the server itself has.
func TestHistoryKeepsItsReasons(t *testing.T) {
	first := wal.HistoryEntry{TLI: 1, Switch: testBase, Reason: "no recovery target specified"}
	n := foundNode(t, consensus.State{
		ID: testID, SystemID: walrecordtest.SystemID, PGVersion: 180000, SegmentSize: wal.MinSegmentSize,
		Start: testStart, Incarnation: pushwal.Incarnation{1}, TLIHistory: wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{first}},
		Configuration: pushwal.Configuration{Generation: 1, Members: []pushwal.Member{{ID: 1, Host: "a", Port: 1}}},
	})
	p := n.connect(t, ours)
	p.greet()
	p.askVote(1)
	require.True(t, p.vote().VoteGiven)
	next := wal.HistoryEntry{TLI: 2, Switch: testBase + 5000}
	p.send(p.codec.AppendProposerElected(nil, &pushwal.ProposerElected{
		Generation: 1, Term: 1, StartStreamingAt: testBase, History: pushwal.TermHistory{{Term: 0, LSN: testStart}, {Term: 1, LSN: testStart}},
		TLIHistory: wal.TimelineHistory{Last: 3, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: testBase}, next}},
	}))
	p.append(1, testBase, nil, 0)
	p.response()
	want := wal.TimelineHistory{Last: 3, Ancestors: []wal.HistoryEntry{first, next}}
	require.Equal(t, want, n.Status().TLIHistory)
	require.Equal(t, want, n.log.Control().History)
	var saved consensus.State
	require.NoError(t, saved.UnmarshalBinary(n.log.Control().State))
	require.Equal(t, want, saved.TLIHistory, "and after a restart")
}

// TestOrderOfEffects: by the time an answer is here, this has been done, in this
// order. A history never reaches the disk before the WAL agrees with it.
func TestOrderOfEffects(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	data := someWAL(5000)
	end := testBase + wal.LSN(len(data))
	p.append(1, testBase, nil, 0)
	p.response()
	require.Equal(t, []string{"save", "truncate " + testBase.String(), "save"}, n.log.taken(), "vote, elected")
	release := n.log.hold()
	defer release()
	before := n.log.syncs.Load()
	p.append(1, testBase, data, 0)
	waitFor(t, func() bool { return n.log.syncs.Load() == before+1 })

	// The vote has to wait for the disk as well: its position is final.
	rival := n.connect(t, ours)
	rival.greet()
	rival.askVote(2)
	waitFor(t, func() bool { return n.log.syncs.Load() == before+2 })
	release()
	require.Equal(t, end, rival.vote().FlushLSN)
	require.Equal(t, []string{"append " + testBase.String(), "sync", "sync", "save"}, n.log.taken())
	// The new proposer's history parts from ours at the first record.
	history := pushwal.TermHistory{{Term: 0, LSN: testStart}, {Term: 2, LSN: testStart}}
	rival.elected(2, testStart, history)
	rival.append(2, testStart, data[testStart-testBase:], 0)
	require.Equal(t, end, rival.response().FlushLSN)
	require.Equal(t, []string{"truncate " + testStart.String(), "save", "append " + testStart.String(), "sync"}, n.log.taken())
}

// TestGroupCommit: what arrives while a sync runs is covered by the next one,
// with one answer.
func TestGroupCommit(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	data := someWAL(64 << 10)
	release := n.log.hold()
	defer release()
	before := n.log.syncs.Load()
	p.append(1, testBase, data[:1000], 0)
	waitFor(t, func() bool { return n.log.syncs.Load() == before+1 })
	const pieces = 60
	at := 1000
	for i := range pieces {
		next := at + 1000
		if i == pieces-1 {
			next = len(data)
		}
		p.append(1, testBase+wal.LSN(at), data[at:next], 0)
		at = next
	}
	release()
	end := testBase + wal.LSN(len(data))
	answers := 0
	for flush := wal.LSN(0); flush < end; answers++ {
		flush = p.response().FlushLSN
	}
	require.Less(t, answers, pieces/2)
	require.EqualValues(t, answers, n.log.syncs.Load()-before)
}

// TestDamagedFrame: a frame whose CRC is wrong is not written.
func TestDamagedFrame(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	data := someWAL(5000)
	m := &pushwal.AppendRequest{Generation: 1, Term: 1, Begin: testBase, End: testBase + wal.LSN(len(data)), TLI: 1, CRC: pushwal.Checksum(data)}
	header := ours.AppendAppendRequestHeader(nil, m)
	data[300] ^= 0x40
	p.send(header, data)
	err := p.result()
	require.Equal(t, protocol.CodeDataCorrupted, protocol.SQLState(err), err)
	require.Equal(t, testBase, n.log.Positions().Write)
}

// TestFrameWithoutTimeline: our own frames always name one.
func TestFrameWithoutTimeline(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	data := someWAL(5000)
	m := &pushwal.AppendRequest{Generation: 1, Term: 1, Begin: testBase, End: testBase + wal.LSN(len(data)), CRC: pushwal.Checksum(data)}
	p.send(ours.AppendAppendRequestHeader(nil, m), data)
	require.Equal(t, protocol.CodeProtocolViolation, protocol.SQLState(p.result()))
}

// TestMalformedMessages end a session with 08P01 and change nothing.
func TestMalformedMessages(t *testing.T) {
	n := newNode(t)
	for _, bad := range [][]byte{{}, {'x'}, {'g'}, {'v', 0}, {'a'}, {0}} {
		p := n.connect(t, ours)
		p.send(bad)
		require.Equal(t, protocol.CodeProtocolViolation, protocol.SQLState(p.result()))
	}
	p := n.connect(t, ours)
	p.askVote(1)
	require.Equal(t, protocol.CodeProtocolViolation, protocol.SQLState(p.result()), "the greeting comes first")
	require.Zero(t, n.Status().Term)
}

// TestOldProposerLearnsTheTerm: an append of a lower term is refused with the
// new term and nothing else, and its sender does not count as a writer.
func TestOldProposerLearnsTheTerm(t *testing.T) {
	n := newNode(t)
	old := n.connect(t, ours)
	old.lead(1)
	old.append(1, testBase, nil, 0)
	old.response()
	heard := n.Status().WriterHeard

	rival := n.connect(t, ours)
	rival.greet()
	rival.askVote(2)
	require.True(t, rival.vote().VoteGiven)
	old.append(1, testBase, someWAL(1000), 0)
	r := old.response()
	require.EqualValues(t, 2, r.Term)
	require.Zero(t, r.FlushLSN)
	require.Equal(t, heard, n.Status().WriterHeard)
	require.Equal(t, testBase, n.log.Positions().Write)
}

// TestRecoverySessionIsNoWriter guards the rule that a campaign waits for a
// writer that was heard lately.
func TestRecoverySessionIsNoWriter(t *testing.T) {
	n := newNode(t)
	s := &pushSession{accepting: n.Accepting, recovery: true}
	s.note(&pushwal.ProposerElected{Term: 0})
	require.True(t, n.presence.heard.IsZero())
	s.recovery = false
	s.note(&pushwal.ProposerElected{Term: 0})
	require.False(t, n.presence.heard.IsZero())
}

// TestManyWaiters are all woken by one commit, and each can give up.
func TestManyWaiters(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	data := someWAL(5000)
	end := testBase + wal.LSN(len(data))
	ctx, cancel := context.WithCancel(within(t))
	_, err := n.WaitCommit(canceled(), end)
	require.ErrorIs(t, err, context.Canceled)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			got, err := n.WaitCommit(ctx, testStart)
			if err != nil || got != end {
				t.Errorf("waited for %s, got %s, %v", end, got, err)
			}
		})
	}
	p.append(1, testBase, data, end)
	wg.Wait()
	cancel()
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestWatermarkCostsNothingWithoutWaiters is what the commit path pays.
func TestWatermarkCostsNothingWithoutWaiters(t *testing.T) {
	var w watermark
	at := wal.LSN(1)
	alloctest.None(t, 100, func() {
		at++
		w.raise(at)
	})
}

// TestTermReads: uncommitted WAL is for readers of the term in force only.
func TestTermReads(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	data := someWAL(5000)
	end := testBase + wal.LSN(len(data))
	p.append(1, testBase, data, 0)
	p.response()

	buf := make([]byte, 2*len(data))
	got, flush, err := n.ReadTerm(1, buf, testBase)
	require.NoError(t, err)
	require.Equal(t, end, flush)
	require.Equal(t, data, buf[:got])
	_, _, err = n.ReadTerm(2, buf, testBase)
	require.ErrorContains(t, err, "failed to acquire term 2, current term 1")

	// A wait ends with an error when the term changes under it.
	waited := make(chan error, 1)
	go func() {
		_, err := n.WaitTerm(within(t), 1, end)
		waited <- err
	}()
	rival := n.connect(t, ours)
	rival.greet()
	rival.askVote(2)
	rival.vote()
	require.ErrorContains(t, <-waited, "current term 2")
}

// TestTermReadAcrossATruncation: bytes that may have been cut while they were
// read are not handed out.
func TestTermReadAcrossATruncation(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	p.append(1, testBase, someWAL(5000), 0)
	p.response()
	invariant.OnPoint(t, "accepting/read-term/after", func(int) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.cuts++
	})
	_, _, err := n.ReadTerm(1, make([]byte, 100), testBase)
	require.ErrorContains(t, err, "was cut while it was read")
}

// TestFeedbackIsRelayed to proposers that stream, and to no other: any byte in
// an idle state would cost them the connection.
func TestFeedbackIsRelayed(t *testing.T) {
	n := newNode(t)
	idle := n.connect(t, ours)
	idle.greet()
	p := n.connect(t, ours)
	p.lead(1)
	p.append(1, testBase, nil, 0)
	p.response()

	n.SetHotStandby(pushwal.HotStandbyFeedback{Time: 5, Xmin: 700})
	want := pushwal.PageserverFeedback{DiskConsistent: 0x1234, ReplyTime: 1}
	n.RelayPageserver(want)
	r := p.response()
	require.NotNil(t, r.Pageserver)
	require.Equal(t, want, *r.Pageserver)
	require.EqualValues(t, 700, r.Standby.Xmin)

	// The idle one's next message is the answer to its vote request.
	idle.askVote(2)
	require.True(t, idle.vote().VoteGiven)
	// A refusal says nothing of standbys.
	p.append(1, testBase, nil, 0)
	require.Zero(t, p.response().Standby)
}

// TestStalledPeer: a proposer that neither reads nor writes does not hold up
// the end of its session.
func TestStalledPeer(t *testing.T) {
	n := newNode(t)
	client, server := net.Pipe() // takes nothing that is not read
	p := n.serve(t, ours, client, server)
	p.lead(1)
	p.append(1, testBase, nil, 0)
	p.response()
	n.RelayPageserver(pushwal.PageserverFeedback{})
	waitFor(t, n.sendingBlocks)

	began := time.Now()
	p.cancel()
	require.ErrorIs(t, p.result(), context.Canceled)
	require.Less(t, time.Since(began), patience)
}

// sendingBlocks says whether the only session is stuck in a send.
func (n *node) sendingBlocks() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.sessions {
		s.out.mu.Lock()
		taken := s.out.feedback == nil
		s.out.mu.Unlock()
		if free := s.out.sending.TryLock(); free {
			s.out.sending.Unlock()
			return false
		}
		return taken
	}
	return false
}

func TestCloseEndsSessions(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	p.append(1, testBase, nil, 0)
	p.response()
	cause := errors.New("shutting down in this test")
	require.NoError(t, n.Close(cause))
	require.ErrorIs(t, p.result(), cause)
	late := n.connect(t, ours)
	require.Equal(t, protocol.CodeAdminShutdown, protocol.SQLState(late.result()))
}

func TestRestart(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(4)
	data := someWAL(5000)
	end := testBase + wal.LSN(len(data))
	p.append(4, testBase, data, end)
	p.response()
	_, err := n.WaitCommit(within(t), end-1)
	require.NoError(t, err)
	require.NoError(t, n.Close(nil))

	again, err := NewAccepting(AcceptingOptions{NodeID: 1, Log: n.log})
	require.NoError(t, err)
	require.Equal(t, end, again.CommitLSN())
	require.Equal(t, end, again.FlushLSN())
	require.EqualValues(t, 4, again.Term())
	require.EqualValues(t, -1, again.Status().WriterAge)
}

var newColumns = map[string]bool{"candidate_age_ms": true, "headless_age_ms": true, "up_ms": true, "headless_term": true, "new_incarnations": true, "oldest_record_lsn": true}

func TestStatusColumns(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	p.append(1, testBase, someWAL(5000), 0)
	p.response()
	want := n.Status()
	values := want.Values()
	require.Len(t, values, len(StatusColumns))
	row := Row{}
	for i, name := range StatusColumns {
		row[name] = values[i].(string)
	}
	got, err := ParseStatus(row)
	require.NoError(t, err)
	want.WriterAge, want.Up = want.WriterAge.Truncate(time.Millisecond), want.Up.Truncate(time.Millisecond)
	// Not among the columns.
	want.ID, want.WriterHeard, want.Accepted = wal.TTID{}, time.Time{}, got.Accepted
	require.Equal(t, want, got)

	for _, column := range StatusColumns {
		broken := Row{}
		for k, v := range row {
			broken[k] = v
		}
		delete(broken, column)
		_, err := ParseStatus(broken)
		if newColumns[column] {
			require.NoError(t, err, "%s is missing in answers of older safekeepers", column)
			continue
		}
		require.ErrorContains(t, err, column)
	}
}

// A proposer that can send the bytes in front of the first record ended in the
// middle of them; the next one cannot send them.
func TestPrefixIsMadeUpOverAPartOfTheTrueOne(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	all := someWAL(1000)
	p.append(1, testBase, nil, 0)
	p.response()
	p.append(1, testBase, all[:16], 0)
	require.Equal(t, testStart, p.response().FlushLSN, "nothing yet")

	neons := n.connect(t, pushwal.Codec{Version: pushwal.Version3})
	neons.greet()
	neons.askVote(2)
	require.True(t, neons.vote().VoteGiven)
	neons.elected(2, testStart, pushwal.TermHistory{{Term: 0, LSN: testStart}, {Term: 2, LSN: testStart}})
	neons.append(2, testStart, all[testStart-testBase:], 0)
	require.Equal(t, testBase+wal.LSN(len(all)), neons.response().FlushLSN)
}

// Whoever could settle the end of WAL without a server waits while a server's
// proposer compares WAL or asks for office, and while another one settles it.
func TestCandidatesAreKnown(t *testing.T) {
	n := newNode(t)
	ages := func() [3]bool {
		s := n.Status()
		return [3]bool{s.WriterAge >= 0, s.CandidateAge >= 0, s.HeadlessAge >= 0}
	}
	require.Equal(t, [3]bool{}, ages())
	n.NoteComparison()
	require.Equal(t, [3]bool{false, true, false}, ages(), "somebody compares")

	s := &pushSession{accepting: n.Accepting}
	n.sessions[99] = s
	defer delete(n.sessions, 99)
	s.note(&pushwal.ProposerElected{Term: 0})
	require.Equal(t, [3]bool{true, false, false}, ages(), "in office")

	s.note(&pushwal.ProposerGreeting{Instance: pushwal.Instance{1}})
	require.Equal(t, [3]bool{true, true, false}, ages(), "greeted")
	s.note(&pushwal.VoteRequest{Term: 1})
	s.note(&pushwal.ProposerElected{Term: 7})
	require.Equal(t, [3]bool{true, true, false}, ages(), "elected in a term that was refused")
	delete(n.sessions, 99)
	require.Equal(t, [3]bool{true, false, false}, ages(), "gone")

	h := &pushSession{accepting: n.Accepting}
	h.note(&pushwal.ProposerGreeting{Instance: pushwal.Headless})
	h.note(&pushwal.VoteRequest{Term: 1})
	require.Equal(t, [3]bool{true, false, true}, ages(), "a headless run is no candidate")
}
