package consensus

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

const start = uint64(testStart)

// following returns node 1 that follows the proposer of term 1 on connection 1,
// with the prefix and n bytes of its WAL durable.
func following(t *testing.T, n int) *testNode {
	t.Helper()
	a := newTestNode(1, testState(1, gen1))
	lead(t, a, 1, 1, 0, history(0, start, 1, start))
	if n > 0 {
		write(t, a, 1, 1, n)
	}
	return a
}

// lead connects a proposer that wins the term and starts at `at`, 0 = at the
// start of the segment with the prefix sent as well.
func lead(t *testing.T, a *testNode, conn ConnID, term wal.Term, at wal.LSN, h pushwal.TermHistory) {
	t.Helper()
	connect(t, a, conn)
	must[*pushwal.VoteResponse](t)(a.step(conn, &pushwal.VoteRequest{Generation: 1, Term: term}))
	prefix := at == 0
	if prefix {
		at = testSegment.SegmentStart(testStart)
	}
	_, err := a.step(conn, &pushwal.ProposerElected{Generation: 1, Term: term, StartStreamingAt: at, History: h})
	require.NoError(t, err)
	if prefix {
		write(t, a, conn, term, int(testStart-at))
	}
}

func connect(t *testing.T, a *testNode, conn ConnID) *pushwal.AcceptorGreeting {
	t.Helper()
	return must[*pushwal.AcceptorGreeting](t)(a.step(conn, greeting()))
}

// write appends n bytes where the log ends and syncs them.
func write(t *testing.T, a *testNode, conn ConnID, term wal.Term, n int) *pushwal.AppendResponse {
	t.Helper()
	out, err := a.step(conn, appendMsg(1, term, a.log.end(), fill(term, n), 0))
	require.NoError(t, err)
	require.Empty(t, out, "an answer before the sync")
	return must[*pushwal.AppendResponse](t)(a.sync(), nil)
}

func TestR1VoteIsForHigherTermsOnlyAndPersistedFirst(t *testing.T) {
	for _, tc := range []struct {
		own, asked wal.Term
		given      bool
		after      wal.Term
	}{
		{0, 1, true, 1}, {4, 5, true, 5}, {4, 4, false, 4}, {4, 3, false, 4}, {4, 0, false, 4}, {0, 0, false, 0},
	} {
		s := testState(1, gen1)
		s.Term = tc.own
		a := NewAcceptor(1, s, Positions{Write: 0x1000000, FlushRecord: 0x1000000})
		_, err := a.Step(1, greeting())
		require.NoError(t, err)
		e, err := a.Step(1, &pushwal.VoteRequest{Generation: 1, Term: tc.asked})
		require.NoError(t, err)
		require.Equal(t, tc.given, e.Save != nil, "a vote is given exactly when the new term is to be persisted")
		if tc.given {
			require.Equal(t, tc.after, e.Save.Term)
		}
		r := e.Send[0].Msg.(*pushwal.VoteResponse)
		require.Equal(t, tc.given, r.VoteGiven)
		require.Equal(t, tc.after, r.Term)
		require.Equal(t, testStart, r.FlushLSN, "a refusal tells the position as well")
	}
}

func TestR1VoteSurvivesRestart(t *testing.T) {
	a := newTestNode(1, testState(1, gen1))
	connect(t, a, 1)
	require.True(t, must[*pushwal.VoteResponse](t)(a.step(1, &pushwal.VoteRequest{Generation: 1, Term: 3})).VoteGiven)
	a.restart()
	require.Equal(t, wal.Term(3), connect(t, a, 2).Term)
	require.False(t, must[*pushwal.VoteResponse](t)(a.step(2, &pushwal.VoteRequest{Generation: 1, Term: 3})).VoteGiven)
}

func TestR4HistoryIsCutAtFlush(t *testing.T) {
	h := history(0, 100, 2, 200, 5, 300)
	require.Equal(t, history(0, 100, 2, 200), cutHistory(h, 299))
	require.Equal(t, h, cutHistory(h, 300), "an entry at the flush position counts")
	require.Empty(t, cutHistory(h, 99))
	require.Equal(t, wal.Term(5), lastTerm(cutHistory(h, 300)))
	require.Equal(t, wal.Term(0), lastTerm(nil))

	// A node that adopted a history but not its WAL claims the older term.
	a := following(t, 0)
	a.restart()
	lead(t, a, 2, 7, testStart, history(0, start, 1, start, 7, start+1000))
	require.Equal(t, wal.Term(1), a.a.LastLogTerm())
	write(t, a, 2, 7, 1000)
	require.Equal(t, wal.Term(7), a.a.LastLogTerm())
}

func TestR5TruncationBeforeHistory(t *testing.T) {
	a := following(t, 500)
	connect(t, a, 2)
	_, err := a.step(2, &pushwal.VoteRequest{Generation: 1, Term: 2})
	require.NoError(t, err)
	e, err := a.a.Step(2, &pushwal.ProposerElected{
		Generation: 1, Term: 2, StartStreamingAt: testStart + 200, History: history(0, start, 1, start, 2, start+200),
	})
	require.NoError(t, err)
	require.Equal(t, testStart+200, e.Truncate.To)
	require.Equal(t, wal.Term(2), lastTerm(e.Save.History), "both in the effects whose order is truncate, then save")
	require.Empty(t, e.Send)
}

func TestR5AppendsOnlyAfterElected(t *testing.T) {
	a := newTestNode(1, testState(1, gen1))
	connect(t, a, 1)
	_, err := a.step(1, appendMsg(1, 1, 0x1000000, fill(1, 8), 0))
	require.ErrorIs(t, err, ErrProtocol, "term not known")
	connect(t, a, 2)
	_, err = a.step(2, &pushwal.VoteRequest{Generation: 1, Term: 1})
	require.NoError(t, err)
	_, err = a.step(2, appendMsg(1, 1, 0x1000000, fill(1, 8), 0))
	require.ErrorIs(t, err, ErrProtocol, "voted, but nobody elected")

	b := following(t, 100)
	connect(t, b, 2)
	_, err = b.step(2, appendMsg(1, 1, b.log.end(), fill(1, 8), 0))
	require.ErrorIs(t, err, ErrProtocol, "elected on another connection only")
	b.restart()
	connect(t, b, 3)
	_, err = b.step(3, appendMsg(1, 1, b.log.end(), fill(1, 8), 0))
	require.ErrorIs(t, err, ErrProtocol, "C7: the truncation has not been done in this life")
}

func TestR6AppendsAreSequential(t *testing.T) {
	for name, off := range map[string]int{"gap": 8, "overwrite": -8} {
		t.Run(name, func(t *testing.T) {
			a := following(t, 100)
			_, err := a.step(1, appendMsg(1, 1, a.log.end()+wal.LSN(off), fill(1, 8), 0))
			require.ErrorIs(t, err, ErrPosition)
			connect(t, a, 2)
			require.Equal(t, testStart+100, a.a.FlushLSN())
		})
	}
	a := following(t, 100)
	_, err := a.step(1, appendMsg(1, 1, a.log.end()+8, nil, 0))
	require.ErrorIs(t, err, ErrPosition, "heartbeats too")
}

func TestR7LowerTermLearnsAndWritesNothing(t *testing.T) {
	a := following(t, 100)
	connect(t, a, 2)
	_, err := a.step(2, &pushwal.VoteRequest{Generation: 1, Term: 9})
	require.NoError(t, err)
	end := a.log.end()
	r := must[*pushwal.AppendResponse](t)(a.step(1, appendMsg(1, 1, end, fill(1, 8), end)))
	require.Equal(t, &pushwal.AppendResponse{Generation: 1, Term: 9}, r, "nothing but generation and term")
	require.Equal(t, end, a.log.end())

	out, err := a.step(1, &pushwal.ProposerElected{Generation: 1, Term: 1, StartStreamingAt: end, History: history(0, start, 1, start)})
	require.NoError(t, err, "a late announcement is ignored")
	require.Empty(t, out)
	require.Equal(t, wal.Term(9), a.a.State().Term)
}

func TestR8EqualTermsStartEqually(t *testing.T) {
	require.NoError(t, checkTerms(history(0, 1, 2, 10, 4, 30), history(0, 1, 3, 20, 4, 30)))
	require.ErrorIs(t, checkTerms(history(0, 1, 4, 30), history(0, 1, 2, 10, 4, 31)), ErrHistory)

	a := following(t, 100)
	connect(t, a, 2)
	_, err := a.step(2, &pushwal.ProposerElected{Generation: 1, Term: 5, StartStreamingAt: testStart, History: history(0, start, 1, start+50, 5, start+50)})
	require.ErrorIs(t, err, ErrHistory)
	require.Equal(t, wal.Term(1), a.a.State().Term, "an error changes nothing")
}

func TestR9Generations(t *testing.T) {
	for _, g := range []pushwal.Generation{0, 2} {
		a := following(t, 100)
		for i, m := range []pushwal.ProposerMessage{
			&pushwal.VoteRequest{Generation: g, Term: 8},
			&pushwal.ProposerElected{Generation: g, Term: 1, StartStreamingAt: testStart + 100, History: history(0, start, 1, start)},
			appendMsg(g, 1, a.log.end(), fill(1, 8), 0),
		} {
			_, err := a.a.Step(1, m)
			require.ErrorIs(t, err, ErrConfiguration, "message %d", i)
		}
	}
	s := testState(9, gen1)
	a := newTestNode(9, s)
	connect(t, a, 1)
	_, err := a.step(1, &pushwal.VoteRequest{Generation: 1, Term: 8})
	require.ErrorIs(t, err, ErrNotMember)

	g := greeting()
	g.Config = pushwal.Configuration{Generation: 2, Members: members(1)}
	b := newTestNode(1, testState(1, gen1))
	g.Instance = pushwal.Instance{}
	_, err = b.step(1, g)
	require.ErrorIs(t, err, ErrConfiguration, "a greeting of Neon's proposer does not change the membership")
}

func TestR13JoiningNeitherVotesNorLosesWhatItIsSent(t *testing.T) {
	joining := testState(1, gen1)
	joining.Joining = true
	wiped := testState(1, gen1)
	wiped.Incarnation = incarnation(77) // made anew: not the one the membership means
	for name, s := range map[string]State{"joining": joining, "wiped": wiped} {
		t.Run(name, func(t *testing.T) {
			a := newTestNode(1, s)
			require.True(t, connect(t, a, 1).Options.Joining)
			r := must[*pushwal.VoteResponse](t)(a.step(1, &pushwal.VoteRequest{Generation: 1, Term: 5}))
			require.False(t, r.VoteGiven)
			require.Equal(t, wal.Term(0), r.Term, "and promises nothing")
			require.Equal(t, wal.Term(0), a.disk.Term)

			neon := greeting()
			neon.Instance = pushwal.Instance{}
			_, err := a.step(2, neon)
			require.NoError(t, err)
			_, err = a.step(2, &pushwal.VoteRequest{Generation: 1, Term: 5})
			require.ErrorIs(t, err, ErrNotMember, "a refusal would end Neon's proposer")

			_, err = a.step(1, &pushwal.ProposerElected{Generation: 1, Term: 5, StartStreamingAt: 0x1000000, History: history(0, start, 5, start)})
			require.NoError(t, err, "but it is filled")
			require.Equal(t, testStart, write(t, a, 1, 5, int(testStart-0x1000000)).FlushLSN)
		})
	}
}

func TestC1CommitIsNeverAboveFlush(t *testing.T) {
	a := following(t, 0)
	end := a.log.end()
	out, err := a.step(1, appendMsg(1, 1, end, fill(1, 100), end+100))
	require.NoError(t, err)
	require.Empty(t, out)
	require.Equal(t, testStart, a.a.CommitLSN(), "announced, but not durable here yet")
	a.sync()
	require.Equal(t, end+100, a.a.CommitLSN(), "the announcement is kept and applied after the own flush")
	_, err = a.step(1, appendMsg(1, 1, end+100, nil, end+10))
	require.NoError(t, err)
	require.Equal(t, end+100, a.a.CommitLSN(), "it never falls")
}

func TestC1CommitIsPersistedAtTheTermStartAndReportedAsPersisted(t *testing.T) {
	a := following(t, 100)
	mid := a.log.end()
	lead(t, a, 2, 2, mid, history(0, start, 1, start, 2, uint64(mid)))
	r := must[*pushwal.AppendResponse](t)(a.step(2, appendMsg(1, 2, mid, nil, mid)))
	require.Equal(t, mid, r.CommitLSN, "reached the term's start: persisted before the answer")
	require.Equal(t, mid, a.disk.CommitLSN)

	_, err := a.step(2, appendMsg(1, 2, mid, fill(2, 100), mid+100))
	require.NoError(t, err)
	r = must[*pushwal.AppendResponse](t)(a.sync(), nil)
	require.Equal(t, mid+100, a.a.CommitLSN())
	require.Equal(t, mid, r.CommitLSN, "newer in memory, but what is said is what is on disk")
	require.Equal(t, mid, a.disk.CommitLSN)
	require.Equal(t, mid+100, a.a.Checkpoint().CommitLSN)
	require.Nil(t, a.a.Checkpoint(), "nothing new")
}

func TestC3CommittedWALIsNotCut(t *testing.T) {
	a := following(t, 100)
	_, err := a.step(1, appendMsg(1, 1, a.log.end(), nil, a.log.end()))
	require.NoError(t, err)
	connect(t, a, 2)
	_, err = a.step(2, &pushwal.ProposerElected{Generation: 1, Term: 4, StartStreamingAt: testStart + 50, History: history(0, start, 1, start, 4, start+50)})
	require.ErrorIs(t, err, ErrHistory)
	require.Equal(t, testStart+100, a.a.FlushLSN())
}

func TestC4TruncateLSNNeverFallsAndStaysBelowFlush(t *testing.T) {
	a := following(t, 100)
	m := appendMsg(1, 1, a.log.end(), nil, 0)
	m.TruncateLSN = a.log.end() + 500
	_, err := a.step(1, m)
	require.NoError(t, err)
	require.Equal(t, testStart+100, a.a.State().TruncateLSN)
	m.TruncateLSN = testStart
	_, err = a.step(1, m)
	require.NoError(t, err)
	require.Equal(t, testStart+100, a.a.State().TruncateLSN)
}

func TestC5VoteFlushesFirst(t *testing.T) {
	a := following(t, 100)
	_, err := a.step(1, appendMsg(1, 1, a.log.end(), fill(1, 60), 0))
	require.NoError(t, err)
	connect(t, a, 2)
	e, err := a.a.Step(2, &pushwal.VoteRequest{Generation: 1, Term: 2})
	require.NoError(t, err)
	require.True(t, e.SyncFirst)
	require.Len(t, e.Send, 2)
	require.Equal(t, testStart+160, e.Send[0].Msg.(*pushwal.AppendResponse).FlushLSN, "what the sync made durable is acknowledged to its sender")
	require.Equal(t, testStart+160, e.Send[1].Msg.(*pushwal.VoteResponse).FlushLSN)
}

func TestC6LostCommittedWALIsNoticed(t *testing.T) {
	s := testState(1, gen1)
	s.CommitLSN = testStart + 100
	a := NewAcceptor(1, s, Positions{Write: testStart + 50, FlushRecord: testStart + 50})
	require.ErrorIs(t, a.Err(), ErrHistory)
	require.True(t, a.Joining(), "nobody may count it")
	_, err := a.Step(1, greeting())
	require.ErrorIs(t, err, ErrHistory)
	require.NoError(t, NewAcceptor(1, s, Positions{Write: testStart + 100, FlushRecord: testStart + 100}).Err())
}

func TestGreetingChecks(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(g *pushwal.ProposerGreeting)
		cause  error
	}{
		"version":         {func(g *pushwal.ProposerGreeting) { g.PGVersion = 160001 }, ErrIdentity},
		"minor":           {func(g *pushwal.ProposerGreeting) { g.PGVersion = 170099 }, nil},
		"version missing": {func(g *pushwal.ProposerGreeting) { g.PGVersion = 0 }, ErrIdentity},
		"tenant":          {func(g *pushwal.ProposerGreeting) { g.TTID.Tenant[3]++ }, ErrIdentity},
		"timeline":        {func(g *pushwal.ProposerGreeting) { g.TTID.Timeline[3]++ }, ErrIdentity},
		"segment size":    {func(g *pushwal.ProposerGreeting) { g.SegmentSize = 1 << 20 }, ErrIdentity},
		"system":          {func(g *pushwal.ProposerGreeting) { g.SystemID = 8 }, ErrIdentity},
		"sync mode":       {func(g *pushwal.ProposerGreeting) { g.SystemID = 0 }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := greeting()
			tc.change(g)
			a := newTestNode(1, testState(1, gen1))
			_, err := a.step(1, g)
			if tc.cause == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, tc.cause)
			require.Equal(t, wal.SystemID(7), a.a.State().SystemID)
		})
	}
	s := testState(1, gen1)
	s.SystemID = 0
	a := newTestNode(1, s)
	connect(t, a, 1)
	require.Equal(t, wal.SystemID(7), a.disk.SystemID, "a timeline founded by a sync learns it")
	_, err := a.step(1, greeting())
	require.ErrorIs(t, err, ErrProtocol, "twice")
	_, err = a.step(3, &pushwal.VoteRequest{Generation: 1, Term: 1})
	require.ErrorIs(t, err, ErrProtocol, "the greeting comes first")
}

func TestEmptyLogTakesThePrefix(t *testing.T) {
	segment := testSegment.SegmentStart(testStart)
	h := history(0, start, 1, start)

	a := newTestNode(1, testState(1, gen1))
	lead(t, a, 1, 1, 0, h)
	require.Equal(t, testStart, a.a.FlushLSN())
	require.Equal(t, testStart, a.log.end())

	// Broken off inside the prefix: the position is still the timeline's start.
	b := newTestNode(1, testState(1, gen1))
	connect(t, b, 1)
	_, err := b.step(1, &pushwal.ProposerElected{Generation: 1, Term: 1, StartStreamingAt: segment, History: h})
	require.NoError(t, err)
	require.Equal(t, testStart, write(t, b, 1, 1, 10).FlushLSN)
	b.restart()
	lead(t, b, 2, 2, 0, append(h[:2:2], pushwal.TermLSN{Term: 2, LSN: testStart}))
	require.Equal(t, testStart, b.log.end())

	// Neon's proposer starts at the first record.
	c := newTestNode(1, testState(1, gen1))
	connect(t, c, 1)
	e, err := c.a.Step(1, &pushwal.ProposerElected{Generation: 1, Term: 1, StartStreamingAt: testStart, History: h})
	require.NoError(t, err)
	require.True(t, e.Truncate.Prefix)

	// A log that has records takes no prefix.
	d := following(t, 100)
	_, err = d.step(1, &pushwal.ProposerElected{Generation: 1, Term: 1, StartStreamingAt: segment, History: h})
	require.ErrorIs(t, err, ErrPosition)
}

func TestTimelineHistories(t *testing.T) {
	second := func(at wal.LSN) wal.TimelineHistory {
		return wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: at}}}
	}
	promote := func(t *testing.T, a *testNode, conn ConnID, term wal.Term, h wal.TimelineHistory, at uint64) error {
		connect(t, a, conn)
		_, err := a.step(conn, &pushwal.ProposerElected{
			Generation: 1, Term: term, StartStreamingAt: wal.LSN(at), History: history(0, start, 1, start, uint64(term), at), TLIHistory: h,
		})
		return err
	}
	t.Run("promotion above the end", func(t *testing.T) {
		a := following(t, 100)
		require.NoError(t, promote(t, a, 2, 2, second(testStart+150), start+100))
		require.Equal(t, wal.TLI(2), a.disk.TLIHistory.Last, "in the same write as the term history")
		require.Equal(t, wal.Term(2), lastTerm(a.disk.History))
	})
	t.Run("promotion below the end", func(t *testing.T) {
		a := following(t, 100)
		require.ErrorIs(t, promote(t, a, 2, 2, second(testStart+50), start+100), ErrTimeline)
		require.Equal(t, wal.Term(1), a.a.State().Term, "the term is not raised")
		require.Equal(t, wal.Term(1), a.disk.Term)
		require.NoError(t, promote(t, a, 3, 2, second(testStart+50), start+50), "with the rest cut it fits")
	})
	t.Run("another switch point", func(t *testing.T) {
		a := following(t, 100)
		require.NoError(t, promote(t, a, 2, 2, second(testStart+150), start+100))
		connect(t, a, 3)
		_, err := a.step(3, &pushwal.ProposerElected{
			Generation: 1, Term: 3, StartStreamingAt: testStart + 100,
			History: history(0, start, 1, start, 3, start+100), TLIHistory: second(testStart + 120),
		})
		require.ErrorIs(t, err, ErrTimeline)
		require.Equal(t, wal.Term(2), a.disk.Term)
	})
	t.Run("frames", func(t *testing.T) {
		a := following(t, 100)
		require.NoError(t, promote(t, a, 2, 2, second(testStart+150), start+100))
		m := appendMsg(1, 2, testStart+100, fill(2, 100), 0)
		_, err := a.a.Step(2, m)
		require.ErrorIs(t, err, ErrTimeline, "crosses the switch")
		m.TLI = 2
		_, err = a.a.Step(2, m)
		require.ErrorIs(t, err, ErrTimeline)
		e, err := a.a.Step(2, appendMsg(1, 2, testStart+100, fill(2, 50), 0))
		require.NoError(t, err)
		require.Equal(t, wal.TLI(1), e.Append.TLI)
	})
	t.Run("Neon's proposer", func(t *testing.T) {
		s := testState(1, gen1)
		s.TLIHistory = second(testStart + 1)
		a := newTestNode(1, s)
		g := greeting()
		g.Instance = pushwal.Instance{}
		_, err := a.step(1, g)
		require.ErrorIs(t, err, ErrNegotiation)
	})
}

func TestDamagedFrameIsRefused(t *testing.T) {
	a := following(t, 100)
	m := appendMsg(1, 1, a.log.end(), fill(1, 64), 0)
	m.WAL[3] ^= 1
	_, err := a.a.Step(1, m)
	require.ErrorIs(t, err, pushwal.ErrMalformed)
	require.Equal(t, testStart+100, a.a.write)
	m.WAL[3] ^= 1
	m.WAL = m.WAL[:60]
	_, err = a.a.Step(1, m)
	require.ErrorIs(t, err, ErrProtocol, "length")
}

func TestHeartbeatIsAnsweredAtOnceWhenClean(t *testing.T) {
	a := following(t, 100)
	r := must[*pushwal.AppendResponse](t)(a.step(1, appendMsg(1, 1, a.log.end(), nil, 0)))
	require.Equal(t, testStart+100, r.FlushLSN)
	_, err := a.step(1, appendMsg(1, 1, a.log.end(), fill(1, 8), 0))
	require.NoError(t, err)
	out, err := a.step(1, appendMsg(1, 1, a.log.end(), nil, 0))
	require.NoError(t, err)
	require.Empty(t, out, "behind unsynced WAL it waits")
	require.Len(t, a.sync(), 1, "one answer for both")
}

func TestStaleConnectionOfTheSameProposer(t *testing.T) {
	a := following(t, 100)
	_, err := a.step(1, appendMsg(1, 1, a.log.end(), fill(1, 40), 0)) // not synced
	require.NoError(t, err)
	h := history(0, start, 1, start)
	connect(t, a, 2)
	_, err = a.step(2, &pushwal.ProposerElected{Generation: 1, Term: 1, StartStreamingAt: testStart + 100, History: h})
	require.NoError(t, err)
	require.Equal(t, testStart+100, a.log.end(), "unacknowledged bytes of the old connection are cut")
	_, err = a.step(1, appendMsg(1, 1, testStart+140, fill(1, 8), 0))
	require.ErrorIs(t, err, ErrPosition)
	require.Equal(t, testStart+108, write(t, a, 2, 1, 8).FlushLSN)
}

func TestSyncedAnswersOnlyWhatIsDurable(t *testing.T) {
	a := following(t, 0)
	connect(t, a, 2)
	_, err := a.step(2, &pushwal.ProposerElected{Generation: 1, Term: 1, StartStreamingAt: testStart, History: history(0, start, 1, start)})
	require.NoError(t, err)
	_, err = a.step(2, appendMsg(1, 1, testStart, fill(1, 10), 0))
	require.NoError(t, err)
	before := a.log.end() // a sync begins here ...
	_, err = a.step(2, appendMsg(1, 1, before, fill(1, 10), 0))
	require.NoError(t, err)
	e := a.a.Synced(before+5, before)
	require.Equal(t, testStart+10, e.Send[0].Msg.(*pushwal.AppendResponse).FlushLSN, "... and covers only the first of two")
	require.Equal(t, testStart+15, e.Send[0].Msg.(*pushwal.AppendResponse).DurableLSN, "... but a part of the second")
	require.Empty(t, a.a.Synced(before+5, before).Send, "nothing new")
	e = a.a.Synced(a.log.end(), a.log.end())
	require.Equal(t, testStart+20, e.Send[0].Msg.(*pushwal.AppendResponse).FlushLSN)
	require.Equal(t, testStart+20, a.a.FlushLSN())
	a.a.Synced(a.log.end()+1000, a.log.end()+1000)
	require.Equal(t, testStart+20, a.a.FlushLSN(), "never above what was written")
}

// A part of a record that comes while the log is synced is answered for once it is
// durable: a proposer whose queue is full of it waits for that.
func TestPartThatCameDuringASyncIsAnswered(t *testing.T) {
	a := following(t, 0)
	connect(t, a, 2)
	_, err := a.step(2, &pushwal.ProposerElected{Generation: 1, Term: 1, StartStreamingAt: testStart, History: history(0, start, 1, start)})
	require.NoError(t, err)
	_, err = a.step(2, appendMsg(1, 1, testStart, fill(1, 10), 0))
	require.NoError(t, err)
	before := a.log.end() // a sync begins here ...
	_, err = a.a.Step(2, appendMsg(1, 1, before, fill(1, 5), 0))
	require.NoError(t, err)
	a.a.Appended(before+5, before) // ... no record ends in this
	e := a.a.Synced(before, before)
	require.Len(t, e.Send, 1)
	e = a.a.Synced(before+5, before)
	require.Len(t, e.Send, 1)
	require.Equal(t, before, e.Send[0].Msg.(*pushwal.AppendResponse).FlushLSN)
	require.Equal(t, before+5, e.Send[0].Msg.(*pushwal.AppendResponse).DurableLSN)
	require.Empty(t, a.a.Synced(before+5, before).Send, "nothing is owed")
}

func TestReportAndWriter(t *testing.T) {
	a := newTestNode(1, testState(1, gen1))
	_, ok := a.a.Writer()
	require.False(t, ok)
	a = following(t, 100)
	w, ok := a.a.Writer()
	require.True(t, ok)
	require.Equal(t, testInstance, w)
	a.a.Report(testStart+50, 0)
	a.a.Report(testStart+40, testStart+60)
	s := a.a.Checkpoint()
	require.Equal(t, testStart+50, s.RemoteConsistentLSN)
	require.Equal(t, testStart+60, s.BackupLSN)
}

func TestElectedRefusals(t *testing.T) {
	ok := history(0, start, 1, start)
	for name, tc := range map[string]struct {
		m     pushwal.ProposerElected
		cause error
	}{
		"no history":         {pushwal.ProposerElected{Term: 2, StartStreamingAt: testStart}, ErrHistory},
		"falling":            {pushwal.ProposerElected{Term: 2, StartStreamingAt: testStart, History: history(2, start, 1, start)}, ErrHistory},
		"other term's":       {pushwal.ProposerElected{Term: 3, StartStreamingAt: testStart, History: append(ok[:2:2], pushwal.TermLSN{Term: 2, LSN: testStart})}, ErrHistory},
		"term out of range":  {pushwal.ProposerElected{Term: maxTerm, StartStreamingAt: testStart, History: history(0, start, uint64(maxTerm), start)}, ErrHistory},
		"nothing in common":  {pushwal.ProposerElected{Term: 2, StartStreamingAt: testStart + 500, History: history(2, start+500)}, ErrHistory},
		"below the start":    {pushwal.ProposerElected{Term: 2, StartStreamingAt: testStart - 8, History: history(2, start-8)}, ErrHistory},
		"not the fork":       {pushwal.ProposerElected{Term: 2, StartStreamingAt: testStart + 99, History: history(0, start, 1, start, 2, start+100)}, ErrPosition},
		"invalid timelines":  {pushwal.ProposerElected{Term: 2, StartStreamingAt: testStart + 100, History: history(0, start, 1, start, 2, start+100), TLIHistory: wal.TimelineHistory{Last: 1, Ancestors: []wal.HistoryEntry{{TLI: 1}}}}, ErrTimeline},
		"beyond what exists": {pushwal.ProposerElected{Term: 2, StartStreamingAt: testStart + 200, History: history(0, start, 1, start, 2, start+200)}, ErrPosition},
	} {
		t.Run(name, func(t *testing.T) {
			a := following(t, 100)
			connect(t, a, 2)
			tc.m.Generation = 1
			before := a.a.State()
			_, err := a.step(2, &tc.m)
			require.ErrorIs(t, err, tc.cause)
			require.Equal(t, before, a.a.State())
		})
	}
}
