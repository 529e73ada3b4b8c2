package consensus

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// later is a node that joins where WAL begins by now, at the given position of a
// timeline on which terms 1 and 3 wrote.
func later(at wal.LSN, h pushwal.TermHistory) State {
	s := joiner(4, incarnation(4))
	return Founding(State{
		ID: s.ID, SystemID: s.SystemID, PGVersion: s.PGVersion, SegmentSize: s.SegmentSize,
		Start: at, History: h, Incarnation: s.Incarnation, Joining: true, Configuration: gen1,
	})
}

// TestJoinerBeginsLater: who joins where the first WAL was removed is as one that held
// it: nothing below its start is asked of it, or can be cut.
func TestJoinerBeginsLater(t *testing.T) {
	at := testStart + 3*wal.LSN(testSegment)
	h := history(0, start, 1, start, 3, start+1000, 9, start+60<<20)
	s := later(at, h)
	require.Equal(t, h[:3], s.History, "what its WAL cannot show it does not claim")
	require.EqualValues(t, 3, s.Term, "no term below that is voted in")
	require.Equal(t, at, s.CommitLSN)
	require.Equal(t, testStart, s.TruncateLSN, "other members may lack what it begins behind")
	require.Equal(t, at, s.laterStart())

	a := newTestNode(4, s)
	out := connect(t, a, 1)
	require.Equal(t, at, out.Options.Start)
	v := must[*pushwal.VoteResponse](t)(a.step(1, &pushwal.VoteRequest{Generation: 1, Term: 9}))
	require.False(t, v.VoteGiven)
	require.Equal(t, at, v.FlushLSN)
	for name, tc := range map[string]struct {
		elected *pushwal.ProposerElected
		cause   error
	}{
		"made-up beginning":    {&pushwal.ProposerElected{StartStreamingAt: at, History: h}, ErrPosition},
		"another history":      {&pushwal.ProposerElected{StartStreamingAt: testStart + 1000, History: history(0, start, 1, start, 9, start+1000)}, ErrHistory},
		"the segment, in full": {&pushwal.ProposerElected{StartStreamingAt: testSegment.SegmentStart(at), History: h}, nil},
	} {
		a := newTestNode(4, s)
		connect(t, a, 1)
		tc.elected.Generation, tc.elected.Term = 1, 9
		e, err := a.a.Step(1, tc.elected)
		if tc.cause != nil {
			require.ErrorIs(t, err, tc.cause, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, testSegment.SegmentStart(at), e.Truncate.To)
		require.False(t, e.Truncate.Prefix)
		require.Equal(t, testStart, a.a.State().TruncateLSN, "nor do they have it by its election")
	}
}

// TestLaterBeginningIsStreamedFromItsSegment: the proposer sends such a node the true
// bytes of the segment in which it begins.
func TestLaterBeginningIsStreamedFromItsSegment(t *testing.T) {
	at := testStart + 3*wal.LSN(testSegment)
	h := history(0, start, 1, start, 3, start+1000)
	p := &Proposer{
		c: ProposerConfig{SegmentSize: testSegment}, term: 9, conf: gen1, history: succeed(h, pushwal.TermLSN{Term: 9, LSN: at + 500}),
		peers: []peer{{node: &node{id: 4}, connected: true, options: true, begins: at, position: &ballot{flush: at, history: h}}},
	}
	var e ProposerEffects
	require.NoError(t, p.follow(&e, 0))
	require.Equal(t, StreamStart{At: testSegment.SegmentStart(at), Prefix: true}, e.Stream[0])
	p.peers[0].streaming, p.peers[0].position.flush = false, at+100
	e = ProposerEffects{}
	require.NoError(t, p.follow(&e, 0))
	require.Equal(t, StreamStart{At: at + 100}, e.Stream[0], "what it has it keeps")
}

// TestLaterBeginningIsAcknowledgedWithItsBytes: its start is a position that others have
// acknowledged WAL in front of. It counts for that with those bytes on its disk only.
func TestLaterBeginningIsAcknowledgedWithItsBytes(t *testing.T) {
	at := testStart + 3*wal.LSN(testSegment)
	h := history(0, start, 1, start, 3, start+1000, 9, uint64(at))
	a := newTestNode(4, later(at, h))
	first := testSegment.SegmentStart(at)
	connect(t, a, 1)
	elect := func(conn ConnID) {
		_, err := a.step(conn, &pushwal.ProposerElected{Generation: 1, Term: 9, StartStreamingAt: first, History: h})
		require.NoError(t, err)
	}
	elect(1)
	acknowledged := func(out []Outgoing, err error) (flush, durable wal.LSN) {
		r := must[*pushwal.AppendResponse](t)(out, err)
		return r.FlushLSN, r.DurableLSN
	}
	flush, durable := acknowledged(a.step(1, appendMsg(1, 9, first, nil, at)))
	require.Zero(t, flush, "a heartbeat")
	require.Zero(t, durable)
	_, err := a.step(1, appendMsg(1, 9, first, fill(3, 0x80), at))
	require.NoError(t, err)
	flush, _ = acknowledged(a.sync(), nil)
	require.Zero(t, flush, "a part of them")
	a.restart()
	connect(t, a, 2)
	elect(2)
	_, err = a.step(2, appendMsg(1, 9, first, fill(3, 0x100), at))
	require.NoError(t, err)
	flush, _ = acknowledged(a.sync(), nil)
	require.Equal(t, at, flush)
	a.restart()
	require.Zero(t, connect(t, a, 3).Options.Start, "it has what lies in front")
	v := must[*pushwal.VoteResponse](t)(a.step(3, &pushwal.VoteRequest{Generation: 1, Term: 10}))
	require.Equal(t, at, v.FlushLSN)
	next := succeed(h, pushwal.TermLSN{Term: 10, LSN: at})
	_, err = a.step(3, &pushwal.ProposerElected{Generation: 1, Term: 10, StartStreamingAt: first, History: next})
	require.ErrorIs(t, err, ErrPosition, "what it has acknowledged is not cut")
	connect(t, a, 4)
	_, err = a.step(4, &pushwal.ProposerElected{Generation: 1, Term: 10, StartStreamingAt: at, History: next})
	require.NoError(t, err)
}

// TestBeginAt: what a node that joins at a position takes over of a member's histories.
func TestBeginAt(t *testing.T) {
	h := history(0, start, 1, start, 3, start+1000, 9, start+2000)
	tli := wal.TimelineHistory{Last: 3, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: testStart + 1500}, {TLI: 2, Switch: testStart + 3000}}}
	for name, tc := range map[string]struct {
		at, commit wal.LSN
		terms      int
		tli        wal.TLI
	}{
		"the timeline's beginning":           {testStart, testStart + 4000, 0, 1},
		"in a term":                          {testStart + 1200, testStart + 4000, 3, 1},
		"where a term began":                 {testStart + 2000, testStart + 4000, 4, 2},
		"in front of the switch":             {testStart + 1496, testStart + 4000, 3, 1},
		"at the switch, a byte is committed": {testStart + 1500, testStart + 4000, 3, 2},
		"at the switch, none is":             {testStart + 3000, testStart + 3000, 4, 2},
		"the last committed position":        {testStart + 3500, testStart + 3500, 4, 3},
	} {
		terms, pg := BeginAt(tc.at, tc.commit, h, tli)
		require.Len(t, terms, tc.terms, name)
		require.Equal(t, tc.tli, pg.Last, name)
		s := Founding(State{
			ID: testID(), SystemID: 7, PGVersion: 170005, SegmentSize: testSegment, Start: tc.at, History: terms, TLIHistory: pg,
			Incarnation: incarnation(4), Joining: true, Configuration: gen1,
		})
		raw, err := s.MarshalBinary()
		require.NoError(t, err, name)
		var read State
		require.NoError(t, read.UnmarshalBinary(raw), name)
		again, err := read.MarshalBinary()
		require.NoError(t, err, name)
		require.Equal(t, raw, again, name)
		require.Equal(t, s.History, read.History, name)
	}
}
