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
