package consensus

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

func exampleStates() []State {
	full := testState(2, pushwal.Configuration{Generation: 4, Members: members(1, 2, 3), NewMembers: members(2, 3, 4)})
	full.Joining, full.Term = true, 9
	full.Accepted = AcceptedConfig{Generation: 4, Term: 7}
	full.History = history(0, start, 4, start+5, 9, start+70)
	full.TLIHistory = wal.TimelineHistory{Last: 3, Ancestors: []wal.HistoryEntry{
		{TLI: 1, Switch: testStart + 9, Reason: "no recovery target specified"}, {TLI: 2, Switch: testStart + 11},
	}}
	full.CommitLSN, full.TruncateLSN, full.RemoteConsistentLSN, full.BackupLSN = 5, 6, 7, 8
	proposed := testState(1, gen1)
	proposed.Term, proposed.Accepted = 3, AcceptedConfig{Generation: 2, Term: 3}
	proposed.Proposed = pushwal.Configuration{Generation: 2, Members: members(1, 2, 3), NewMembers: members(1, 2, 3, 4)}
	return []State{testState(1, gen1), full, {SegmentSize: testSegment}, proposed}
}

func TestStateCodec(t *testing.T) {
	for _, want := range exampleStates() {
		b, err := want.MarshalBinary()
		require.NoError(t, err)
		var got State
		require.NoError(t, got.UnmarshalBinary(b))
		require.Equal(t, want, got)
		for n := range b {
			require.Error(t, got.UnmarshalBinary(b[:n]), "cut at %d", n)
		}
		require.Error(t, got.UnmarshalBinary(append(b, 0)))
		b[0]++
		b[0] = 99
		require.ErrorContains(t, got.UnmarshalBinary(b), "version 99")
		b[0] = 0
		require.ErrorContains(t, got.UnmarshalBinary(b), "version 0")
	}
}

func FuzzState(f *testing.F) {
	for _, s := range exampleStates() {
		b, _ := s.MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again State
		if s.UnmarshalBinary(b) != nil {
			return
		}
		c, err := s.MarshalBinary()
		require.NoError(t, err)
		require.NoError(t, again.UnmarshalBinary(c))
		require.Equal(t, s, again)
	})
}

// reader makes values of a fuzzer's bytes; zeros when they run out.
type reader []byte

func (r *reader) next() (b byte) {
	if len(*r) > 0 {
		b, *r = (*r)[0], (*r)[1:]
	}
	return b
}

func (r *reader) more() bool { return len(*r) > 0 }

// lsn is near the start of the timeline, or far off.
func (r *reader) lsn() wal.LSN {
	switch b := r.next(); {
	case b == 255:
		return wal.LSN(^uint64(0))
	case b == 254:
		return 0
	case b >= 250:
		return testSegment.SegmentStart(testStart)
	default:
		return testStart + wal.LSN(b)
	}
}

func (r *reader) term() wal.Term {
	if b := r.next(); b < 250 {
		return wal.Term(b % 8)
	}
	return wal.Term(^uint64(0) >> (r.next() % 4))
}

func (r *reader) generation() pushwal.Generation { return pushwal.Generation(r.next() / 100) }

func (r *reader) history() (h pushwal.TermHistory) {
	for range r.next() % 5 {
		h = append(h, pushwal.TermLSN{Term: r.term(), LSN: r.lsn()})
	}
	return h
}

func (r *reader) timelines() (h wal.TimelineHistory) {
	for range r.next() % 3 {
		h.Ancestors = append(h.Ancestors, wal.HistoryEntry{TLI: wal.TLI(r.next() % 4), Switch: r.lsn()})
	}
	h.Last = wal.TLI(r.next() % 5)
	return h
}

func (r *reader) config() pushwal.Configuration {
	if r.next()%4 > 0 {
		return gen1
	}
	c := pushwal.Configuration{Generation: r.generation()}
	for range r.next() % 4 {
		c.Members = append(c.Members, pushwal.Member{ID: pushwal.NodeID(r.next() % 5)})
	}
	return c
}

// successor is a configuration that may follow gen1, or one behind that.
func (r *reader) successor() pushwal.Configuration {
	c := pushwal.Configuration{Generation: 2 + pushwal.Generation(r.next()%3), Members: members(1, 2, 3)}
	if r.next()%3 > 0 {
		c.NewMembers = members(1, 2, 3, 4)[:1+r.next()%4]
	}
	return c
}

func (r *reader) toAcceptor() pushwal.ProposerMessage {
	switch r.next() % 9 {
	case 8:
		return &pushwal.ConfigurationRequest{Generation: r.generation(), Term: r.term(), Config: r.successor()}
	case 0:
		g := greeting()
		if r.next()%4 == 0 {
			g.Config, g.Instance = r.config(), pushwal.Instance{}
		} else if r.next()%8 == 0 {
			g.Config = r.successor()
		}
		return g
	case 1, 2:
		return &pushwal.VoteRequest{Generation: r.generation(), Term: r.term()}
	case 3, 4:
		return &pushwal.ProposerElected{Generation: r.generation(), Term: r.term(), StartStreamingAt: r.lsn(), History: r.history(), TLIHistory: r.timelines()}
	}
	m := appendMsg(r.generation(), r.term(), r.lsn(), fill(1, int(r.next()%16)), r.lsn())
	m.TruncateLSN, m.TLI = r.lsn(), wal.TLI(r.next()%3)
	return m
}

// checkAcceptor is called after each message: nothing may panic, and the
// invariants of Acceptor hold whatever a proposer sends.
func checkAcceptor(t *testing.T, n *testNode, before State) {
	s := n.a.State()
	require.GreaterOrEqual(t, s.Term, before.Term, "the term never falls")
	require.GreaterOrEqual(t, s.CommitLSN, before.CommitLSN, "C1: the commit position never falls")
	require.LessOrEqual(t, s.CommitLSN, n.a.FlushLSN(), "C1")
	require.GreaterOrEqual(t, s.TruncateLSN, before.TruncateLSN, "C4")
	require.LessOrEqual(t, s.TruncateLSN, n.a.FlushLSN(), "C4")
	require.LessOrEqual(t, n.a.FlushLSN(), max(n.log.synced(), testStart), "durable")
	require.Equal(t, n.log.end(), n.a.write)
	require.LessOrEqual(t, lastTerm(s.History), s.Term)
	require.True(t, s.History.Valid())
	require.Equal(t, n.disk.Term, s.Term, "what is promised is on disk")
	require.Equal(t, n.disk.History, s.History)
}

func FuzzAcceptor(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 100, 1, 3, 0, 100, 1, 251, 2, 0, 0, 1, 0, 0, 1, 5, 0, 100, 1, 0, 8, 0, 0, 1})
	f.Add([]byte("\x00\x00\x00\x01\x64\x01"))
	f.Fuzz(streamToAcceptor)
}

func streamToAcceptor(t *testing.T, b []byte) {
	n := newTestNode(1, testState(1, gen1))
	for r := reader(b); r.more(); {
		before := n.a.State()
		switch op := r.next(); {
		case op >= 250:
			n.restart()
			before.CommitLSN, before.TruncateLSN = 0, 0 // positions may be newer in memory
			require.NoError(t, n.a.Err())
		case op >= 240:
			n.a.Disconnected(ConnID(r.next() % 3))
		case op >= 200:
			n.sync()
		default:
			m := r.toAcceptor()
			_, err := n.step(ConnID(op%3), m)
			if err != nil {
				require.Equal(t, before, n.a.State(), "an error changes nothing")
			}
		}
		checkAcceptor(t, n, before)
	}
}

func (r *reader) event() Event {
	peer := int(r.next()%5) - 1
	switch r.next() % 12 {
	case 10:
		return &Configured{peer, &pushwal.ConfigurationResponse{Generation: r.generation(), Term: r.term(), Accepted: r.generation(), AcceptedTerm: r.term()}}
	case 11:
		return &Reconfigure{r.config()}
	case 0, 1:
		g := &Greeted{peer, &pushwal.AcceptorGreeting{NodeID: pushwal.NodeID(peer + 1), Config: r.config(), Term: r.term()}}
		if k := r.next(); k < 250 {
			g.Greeting.Options = &pushwal.AcceptorOptions{Walhaven: pushwal.Revision, Incarnation: incarnation(g.Greeting.NodeID), Joining: k > 220}
		}
		return g
	case 2, 3:
		v := &Voted{peer, &pushwal.VoteResponse{
			Generation: r.generation(), Term: r.term(), VoteGiven: r.next()%4 > 0, FlushLSN: r.lsn(), TruncateLSN: r.lsn(), History: r.history(),
		}}
		if r.next()%4 == 0 {
			v.Response.TLIHistory = r.timelines()
		}
		return v
	case 4, 5:
		return &Appended{peer, &pushwal.AppendResponse{Generation: r.generation(), Term: r.term(), FlushLSN: r.lsn(), CommitLSN: r.lsn()}}
	case 6:
		return &Disconnected{peer}
	case 7:
		return &Proved{Term: r.term()}
	case 8:
		return &Available{r.lsn()}
	}
	return &Tick{}
}

func FuzzProposer(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 0, 0, 0, 2, 0, 1, 0, 0, 0, 1, 2, 100, 1, 1, 0, 0, 0, 1}, false)
	f.Fuzz(streamToProposer)
}

func streamToProposer(t *testing.T, b []byte, headless bool) {
	p := bare(3, func(c *ProposerConfig) { c.Headless = headless })
	proved := headless
	for r := reader(b); r.more(); {
		ev := r.event()
		commit, truncate, term := p.CommitLSN(), p.TruncateLSN(), p.Term()
		e, err := p.Step(ev)
		if pr, ok := ev.(*Proved); ok && pr.Term == term && p.phase == leading {
			proved = true
		}
		for _, m := range e.Send {
			if _, ok := m.Msg.(*pushwal.ProposerElected); ok {
				require.True(t, proved, "elected without a proof")
			}
			require.True(t, p.peers[m.Peer].connected)
		}
		if err != nil {
			require.Zero(t, e, "an error and effects")
		}
		require.GreaterOrEqual(t, p.CommitLSN(), commit)
		require.GreaterOrEqual(t, p.TruncateLSN(), truncate)
		require.GreaterOrEqual(t, p.Term(), term)
		require.LessOrEqual(t, p.CommitLSN(), p.available)
		if p.CommitLSN() > 0 {
			require.GreaterOrEqual(t, p.CommitLSN(), p.start, "R3")
		}
		p.Donor()
		p.Bound(r.lsn(), r.lsn())
		p.AppendRequest(r.lsn(), nil)
	}
}

// TestRandomStreams is the fuzzers' work for those who do not fuzz.
func TestRandomStreams(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 600)
	for i := range 500 {
		for j := range b {
			b[j] = byte(r.UintN(256))
		}
		streamToAcceptor(t, b)
		streamToProposer(t, b, i%2 == 0)
	}
}
