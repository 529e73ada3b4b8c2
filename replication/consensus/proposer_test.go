package consensus

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// bare returns a proposer for n peers without connections.
func bare(n int, change func(*ProposerConfig)) *Proposer {
	c := ProposerConfig{ID: testID(), SystemID: 7, PGVersion: 170005, SegmentSize: testSegment, Instance: testInstance, Peers: n}
	if change != nil {
		change(&c)
	}
	return NewProposer(c)
}

// after lets a proposer begin as if its look had found term.
func after(term wal.Term) func(*ProposerConfig) {
	return func(c *ProposerConfig) { c.MinTerm = term }
}

// hello is node id's greeting as peer id-1.
func hello(id pushwal.NodeID, conf pushwal.Configuration, term wal.Term) *Greeted {
	return &Greeted{int(id) - 1, &pushwal.AcceptorGreeting{
		NodeID: id, Config: conf, Term: term,
		Options: &pushwal.AcceptorOptions{Walhaven: 1, Incarnation: incarnation(id), TLI: 1},
	}}
}

// ballotOf is a vote of peer id-1.
func ballotOf(id int, term wal.Term, flush uint64, h pushwal.TermHistory) *Voted {
	return &Voted{id - 1, &pushwal.VoteResponse{
		Generation: 1, Term: term, VoteGiven: true, FlushLSN: wal.LSN(flush), TruncateLSN: testStart, History: h,
		TLIHistory: wal.TimelineHistory{Last: 1},
	}}
}

func ack(id int, term wal.Term, flush uint64) *Appended {
	return &Appended{id - 1, &pushwal.AppendResponse{Generation: 1, Term: term, FlushLSN: wal.LSN(flush)}}
}

// run steps through events and returns the effects of the last one.
func run(t *testing.T, p *Proposer, evs ...Event) (e ProposerEffects) {
	t.Helper()
	for i, ev := range evs {
		var err error
		e, err = p.Step(ev)
		require.NoError(t, err, "event %d", i)
	}
	return e
}

// leader returns a proposer of three that won term 5 with the votes of 1 and 2;
// 3 is connected as well and was asked.
func leader(t *testing.T) *Proposer {
	t.Helper()
	h := history(0, start, 4, start)
	p := bare(3, after(4))
	run(t, p, hello(1, gen1, 4), hello(2, gen1, 4), hello(3, gen1, 3))
	run(t, p, ballotOf(1, 5, start+100, h), ballotOf(2, 5, start+80, h))
	e := run(t, p, &Proved{Term: 5})
	require.Equal(t, testStart+100, e.Elected.Start)
	require.Len(t, e.Stream, 2)
	run(t, p, &Available{testStart + 10000})
	return p
}

func TestCampaignWaitsForAQuorumOfGreetings(t *testing.T) {
	p := bare(3, after(7))
	require.Empty(t, run(t, p, hello(1, gen1, 7)).Send)
	require.Empty(t, run(t, p, hello(1, gen1, 7)).Send, "one node that greets twice is one node")
	require.Empty(t, run(t, p, &Disconnected{0}, hello(2, gen1, 1)).Send, "connected, all of them")
	e := run(t, p, hello(1, gen1, 7))
	require.Len(t, e.Send, 2)
	require.Equal(t, &pushwal.VoteRequest{Generation: 1, Term: 8}, e.Send[0].Msg)
	require.Len(t, run(t, p, hello(3, gen1, 8)).Send, 1, "who greets later is asked at once")
}

// Whoever campaigned since the look may be writing. A proposer whose look is
// stale must not depose it: it ends before anyone is asked for a vote.
func TestTermsNewerThanTheLookAreNotOutbid(t *testing.T) {
	p := bare(3, after(4))
	require.Empty(t, run(t, p, hello(1, gen1, 4)).Send)
	e := run(t, p, hello(2, gen1, 5))
	require.NotNil(t, e.Fatal)
	require.ErrorIs(t, e.Fatal, ErrHigherTerm)
	require.Equal(t, wal.Term(5), e.Fatal.Term)
	require.Empty(t, e.Send)
	require.Zero(t, p.Term(), "no campaign")

	joining := hello(2, gen1, 5)
	joining.Greeting.Options.Joining = true
	p = bare(3, after(4))
	require.Nil(t, run(t, p, hello(1, gen1, 4), joining).Fatal, "what does not vote does not hinder")

	// A headless run was started because nobody wrote: somebody does now, perhaps.
	p = bare(3, func(c *ProposerConfig) { c.MinTerm, c.Headless = 4, true })
	run(t, p, hello(1, gen1, 4))
	e = run(t, p, hello(2, gen1, 5))
	require.ErrorIs(t, e.Fatal, ErrHigherTerm)
	require.Empty(t, e.Send)
}

func TestR2StartIsTheBestPositionTermFirst(t *testing.T) {
	long, late := history(0, start, 2, start), history(0, start, 3, start+10)
	for name, tc := range map[string]struct {
		first, second *Voted
		donor         int
		upto          wal.LSN
	}{
		"term before length": {ballotOf(1, 5, start+900, long), ballotOf(2, 5, start+20, late), 1, testStart + 20},
		"length":             {ballotOf(1, 5, start+20, late), ballotOf(2, 5, start+21, late), 1, testStart + 21},
		"tie: first in list": {ballotOf(2, 5, start+20, late), ballotOf(1, 5, start+20, late), 0, testStart + 20},
		"uncut history":      {ballotOf(1, 5, start+5, late), ballotOf(2, 5, start+6, long), 1, testStart + 6},
	} {
		t.Run(name, func(t *testing.T) {
			p := bare(3, after(4))
			run(t, p, hello(1, gen1, 4), hello(2, gen1, 4))
			e := run(t, p, tc.first, tc.second)
			require.NotNil(t, e.Prove)
			require.Equal(t, tc.donor, e.Prove.Donor)
			require.Equal(t, tc.upto, e.Prove.Upto)
			e = run(t, p, &Proved{Term: 5})
			require.Equal(t, tc.upto, e.Elected.Start)
			require.Equal(t, pushwal.TermLSN{Term: 5, LSN: tc.upto}, e.Elected.History[len(e.Elected.History)-1])
		})
	}
}

func TestProofComesBeforeElected(t *testing.T) {
	h := history(0, start)
	p := bare(3, nil)
	run(t, p, hello(1, gen1, 0), hello(2, gen1, 0), hello(3, gen1, 0))
	e := run(t, p, ballotOf(1, 1, start, h), ballotOf(2, 1, start, h))
	require.NotNil(t, e.Prove)
	require.Nil(t, e.Elected)
	require.Empty(t, e.Send)
	require.Empty(t, run(t, p, ballotOf(3, 1, start, h)).Send, "nor to who votes meanwhile")
	require.Empty(t, run(t, p, &Proved{Term: 9}).Send, "an answer to another question")
	cause := errors.New("byte 17 differs")
	e = run(t, p, &Proved{Term: 1, Err: cause})
	require.ErrorIs(t, e.Fatal, ErrProof)
	require.ErrorIs(t, e.Fatal, cause)
	_, err := p.Step(&Proved{Term: 1})
	require.ErrorIs(t, err, ErrStopped, "no second chance")
}

func TestR3OnlyOwnTermCounts(t *testing.T) {
	p := leader(t)
	require.Zero(t, run(t, p, ack(1, 5, start+99), ack(2, 5, start+99)).Commit, "below the term's start: not committed on its own")
	require.Equal(t, testStart+100, run(t, p, ack(1, 5, start+100), ack(2, 5, start+150)).Commit)
	require.Equal(t, testStart+150, run(t, p, ack(1, 5, start+200)).Commit)
	_, err := p.Step(ack(2, 4, start+500))
	require.ErrorIs(t, err, ErrProtocol)
	require.Equal(t, testStart+150, p.CommitLSN())
	_, err = p.Step(ack(3, 5, start+500))
	require.ErrorIs(t, err, ErrProtocol, "3 was not told to cut its WAL")
	require.Equal(t, testStart+150, p.CommitLSN())
}

func TestAcknowledgementsBeyondTheWALDoNotCount(t *testing.T) {
	p := leader(t)
	end := uint64(testStart + 10000)
	require.Equal(t, wal.LSN(end), run(t, p, ack(1, 5, end+600), ack(2, 5, end+600)).Commit, "the padding behind XLOG_SWITCH")
	_, err := p.Step(ack(1, 5, end+uint64(testSegment)))
	require.ErrorIs(t, err, ErrProtocol)
	require.Equal(t, wal.LSN(end), p.CommitLSN())
}

// A record ends behind the bytes that align it; the socket may have given the server's
// WAL up to any byte.
func TestC2CommitIsTheEndOfARecord(t *testing.T) {
	p := leader(t)
	end := uint64(testStart + 10000)
	require.Equal(t, wal.LSN(end-80), run(t, p, ack(1, 5, end-80), ack(2, 5, end-80)).Commit)
	require.Zero(t, run(t, p, ack(1, 5, end+3), ack(2, 5, end+3)).Commit, "three bytes of its alignment have not come")
	require.Equal(t, wal.LSN(end+3), run(t, p, &Available{End: wal.LSN(end + 3)}, ack(1, 5, end+3), ack(2, 5, end+3)).Commit)
}

func TestAcknowledgementsOfDisconnectedNodesStay(t *testing.T) {
	p := leader(t)
	run(t, p, ack(1, 5, start+300), &Disconnected{0})
	require.Equal(t, testStart+200, run(t, p, ack(2, 5, start+200)).Commit)
	_, err := p.Step(ack(1, 5, start+400))
	require.ErrorIs(t, err, ErrProtocol, "not connected")
}

// A node whose disk lost what it had acknowledged, or was replaced by an older
// copy, is the same incarnation: it counts for what it holds now.
func TestWALThatANodeLostDoesNotCount(t *testing.T) {
	p := leader(t)
	run(t, p, ack(1, 5, start+300), hello(1, gen1, 5))
	h := history(0, start, 4, start, 5, start+100)
	less := ballotOf(1, 5, start+150, h)
	less.Response.VoteGiven = false
	_, err := p.Step(less)
	require.ErrorIs(t, err, ErrHistory)
	require.ErrorContains(t, err, "had acknowledged")
	require.Zero(t, run(t, p, ack(2, 5, start+200)).Commit, "nobody else has it")

	run(t, p, hello(1, gen1, 5))
	require.Len(t, run(t, p, less).Stream, 1, "it is filled again")
	require.Equal(t, testStart+150, run(t, p, ack(1, 5, start+150)).Commit)
}

func TestWipedNodeLosesItsVoteAndAcknowledgements(t *testing.T) {
	p := leader(t)
	run(t, p, ack(1, 5, start+300))
	require.EqualValues(t, 1, p.VoterOf(0))
	wiped := hello(1, gen1, 0)
	wiped.Greeting.Options.Incarnation = incarnation(99)
	run(t, p, wiped)
	require.EqualValues(t, 1, p.NodeOf(0))
	require.Zero(t, p.VoterOf(0), "it answers only")
	require.Zero(t, run(t, p, ack(2, 5, start+200)).Commit)
	joining := hello(3, gen1, 0)
	joining.Greeting.Options.Joining = true
	e := run(t, p, joining)
	require.Len(t, e.Send, 1, "it is asked where it stands")
	e = run(t, p, &Voted{2, &pushwal.VoteResponse{Generation: 1, FlushLSN: testStart, History: history(0, start), TLIHistory: wal.TimelineHistory{Last: 1}}})
	require.Len(t, e.Stream, 1, "and is filled")
	require.Zero(t, run(t, p, ack(3, 5, start+200)).Commit, "but does not count")
	require.Zero(t, p.VoterOf(2))
}

func TestJoiningAndWrongIncarnationAreNotAsked(t *testing.T) {
	for name, change := range map[string]func(*pushwal.AcceptorOptions){
		"joining": func(o *pushwal.AcceptorOptions) { o.Joining = true },
		"wiped":   func(o *pushwal.AcceptorOptions) { o.Incarnation = incarnation(50) },
	} {
		t.Run(name, func(t *testing.T) {
			g := hello(2, gen1, 3)
			change(g.Greeting.Options)
			p := bare(3, nil)
			require.Empty(t, run(t, p, hello(1, gen1, 0), g).Send, "no quorum with it")
			e := run(t, p, hello(3, gen1, 0))
			require.Len(t, e.Send, 2)
			require.Equal(t, &pushwal.VoteRequest{Generation: 1, Term: 1}, e.Send[0].Msg, "nor is its term heard")
			_, err := p.Step(ballotOf(2, 1, start, history(0, start)))
			require.ErrorIs(t, err, ErrProtocol)
		})
	}
}

func TestR10JointConfigurationNeedsBothMajorities(t *testing.T) {
	joint := pushwal.Configuration{Generation: 2, Members: members(1, 2, 3), NewMembers: members(3, 4, 5)}
	vote := func(id int) *Voted {
		v := ballotOf(id, 1, start, history(0, start))
		v.Response.Generation = 2
		return v
	}
	a := func(id int, at uint64) *Appended {
		v := ack(id, 1, at)
		v.Response.Generation = 2
		return v
	}
	p := bare(5, nil)
	require.Empty(t, run(t, p, hello(1, joint, 0), hello(2, joint, 0), hello(4, joint, 0)).Send)
	require.Len(t, run(t, p, hello(3, joint, 0)).Send, 4)
	require.Nil(t, run(t, p, vote(1), vote(2), vote(4)).Prove)
	require.NotNil(t, run(t, p, vote(3)).Prove)
	run(t, p, &Proved{Term: 1}, &Available{testStart + 1000})
	require.Zero(t, run(t, p, a(1, start+50), a(2, start+50)).Commit, "old majority only")
	require.Zero(t, run(t, p, a(4, start+40)).Commit)
	require.Equal(t, testStart+30, run(t, p, a(3, start+30)).Commit)
}

func TestR11HigherGenerationEndsTheCampaign(t *testing.T) {
	gen2 := pushwal.Configuration{Generation: 2, Members: members(1, 2, 3)}
	p := bare(3, nil)
	run(t, p, hello(1, gen1, 0))
	e := run(t, p, hello(2, gen2, 0))
	require.Len(t, e.Drop, 1, "before the campaign the newest is taken and the stale node let go")
	require.Empty(t, e.Send)
	_, err := p.Step(hello(1, gen1, 0))
	require.ErrorIs(t, err, ErrConfiguration)
	require.Len(t, run(t, p, hello(3, gen2, 0)).Send, 2)
	gen3 := gen2
	gen3.Generation = 3
	require.ErrorIs(t, run(t, p, hello(1, gen3, 0)).Fatal, ErrConfiguration)

	q := leader(t)
	_, err = q.Step(ballotOf(1, 5, start, nil))
	require.ErrorIs(t, err, ErrProtocol)
	other := gen1
	other.Members = members(1, 2, 4)
	_, err = bareWith(t, hello(1, gen1, 0)).Step(hello(2, other, 0))
	require.ErrorIs(t, err, ErrConfiguration, "S5: one generation, one configuration")
}

func bareWith(t *testing.T, evs ...Event) *Proposer {
	p := bare(3, nil)
	run(t, p, evs...)
	return p
}

func TestHigherTermEndsTheProposer(t *testing.T) {
	require.ErrorIs(t, run(t, leader(t), hello(3, gen1, 6)).Fatal, ErrHigherTerm)
	require.ErrorIs(t, run(t, leader(t), ack(2, 6, 0)).Fatal, ErrHigherTerm)
	p := leader(t)
	refusal := &Voted{2, &pushwal.VoteResponse{Generation: 1, Term: 8, FlushLSN: testStart}}
	e := run(t, p, refusal)
	require.ErrorIs(t, e.Fatal, ErrHigherTerm)
	require.Equal(t, wal.Term(8), e.Fatal.Term)
	require.Equal(t, pushwal.NodeID(3), e.Fatal.Node)
	_, err := p.Step(&Tick{})
	require.ErrorIs(t, err, ErrStopped)
}

// refuse is a refusal in an equal term.
func refuse(id int, term wal.Term) *Voted {
	v := ballotOf(id, term, start, history(0, start))
	v.Response.VoteGiven = false
	return v
}

func TestEqualTermRefusalAfterALostAnswerCampaignsAgain(t *testing.T) {
	p := bare(3, nil)
	run(t, p, hello(1, gen1, 0), hello(2, gen1, 0))
	run(t, p, &Disconnected{0}, hello(1, gen1, 1)) // its vote got lost with the connection
	require.Nil(t, run(t, p, refuse(1, 1)).Fatal)
	require.Nil(t, run(t, p, &Disconnected{1}, hello(2, gen1, 1)).Fatal)
	e := run(t, p, refuse(2, 1))
	require.Nil(t, e.Fatal, "most likely our own votes")
	require.Empty(t, e.Send, "not before the next tick")
	e = run(t, p, &Tick{})
	require.Equal(t, &pushwal.VoteRequest{Generation: 1, Term: 2}, e.Send[0].Msg)
	require.NotNil(t, run(t, p, ballotOf(1, 2, start, history(0, start)), ballotOf(2, 2, start, history(0, start))).Prove)
}

func TestLostVoteDoesNotWaitForANodeThatIsDown(t *testing.T) {
	p := bare(3, nil)
	run(t, p, hello(1, gen1, 0), hello(2, gen1, 0), ballotOf(1, 1, start, history(0, start)))
	require.Nil(t, run(t, p, &Disconnected{1}, hello(2, gen1, 1), refuse(2, 1)).Fatal)
	require.Len(t, run(t, p, &Tick{}).Send, 2, "node 3 might never come")
	require.Equal(t, wal.Term(2), p.Term())

	q := bare(3, nil)
	run(t, q, hello(1, gen1, 0), hello(2, gen1, 0), ballotOf(1, 1, start, history(0, start)))
	require.Nil(t, run(t, q, refuse(2, 1)).Fatal, "node 3 might vote")
	for range tickPatience - 1 {
		require.Nil(t, run(t, q, &Tick{}).Fatal)
	}
	require.ErrorIs(t, run(t, q, &Tick{}).Fatal, ErrRival)
}

func TestEqualTermRefusalOfARivalsVoterEndsTheCampaign(t *testing.T) {
	p := bare(3, nil)
	run(t, p, hello(1, gen1, 0), hello(2, gen1, 0), hello(3, gen1, 0))
	require.Nil(t, run(t, p, refuse(1, 1)).Fatal, "two are enough")
	require.ErrorIs(t, run(t, p, refuse(2, 1)).Fatal, ErrRival)

	q := bare(3, nil)
	run(t, q, hello(1, gen1, 0), hello(2, gen1, 0), hello(3, gen1, 0))
	v := refuse(1, 1)
	v.Response.History = history(0, start, 1, start)
	require.ErrorIs(t, run(t, q, v).Fatal, ErrRival, "somebody already wrote in this term")
}

func TestVoteHeldOutlivesItsConnection(t *testing.T) {
	p := bare(3, nil)
	run(t, p, hello(1, gen1, 0), hello(2, gen1, 0))
	run(t, p, ballotOf(1, 1, start+70, history(0, start)), &Disconnected{0}, hello(1, gen1, 1), refuse(1, 1))
	e := run(t, p, ballotOf(2, 1, start, history(0, start)))
	require.NotNil(t, e.Prove)
	require.Equal(t, testStart+70, e.Prove.Upto)
	require.Len(t, run(t, p, &Proved{Term: 1}).Stream, 2)
}

func TestReconnectAfterElection(t *testing.T) {
	p := leader(t)
	run(t, p, ack(2, 5, start+200))
	e := run(t, p, &Disconnected{1}, hello(2, gen1, 5))
	require.Equal(t, &pushwal.VoteRequest{Generation: 1, Term: 5}, e.Send[0].Msg)
	v := refuse(2, 5)
	v.Response.FlushLSN = testStart + 200
	v.Response.History = history(0, start, 4, start, 5, start+100)
	e = run(t, p, v)
	require.Nil(t, e.Fatal)
	require.Equal(t, testStart+200, e.Stream[0].At)
	require.Equal(t, testStart+200, e.Send[0].Msg.(*pushwal.ProposerElected).StartStreamingAt)
}

func TestCommonPoint(t *testing.T) {
	p := history(0, 100, 2, 200, 4, 300, 7, 400)
	for name, tc := range map[string]struct {
		s     pushwal.TermHistory
		flush wal.LSN
		want  wal.LSN
	}{
		"same, shorter":        {history(0, 100, 2, 200), 250, 250},
		"same, up to the next": {history(0, 100, 2, 200), 380, 300},
		"divergent tail":       {history(0, 100, 2, 200, 3, 280), 350, 280},
		"divergent later":      {history(0, 100, 2, 200, 5, 310), 350, 300},
		"follows already":      {history(0, 100, 2, 200, 4, 300, 7, 400), 470, 470},
		"nothing in common":    {history(1, 100), 350, 100},
		"empty":                {nil, 0, 100},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, commonPoint(p, tc.s, tc.flush)) })
	}
}

func TestEmptyFollowerGetsThePrefix(t *testing.T) {
	p := bare(3, nil)
	run(t, p, hello(1, gen1, 0), hello(2, gen1, 0))
	h := history(0, start)
	run(t, p, ballotOf(1, 1, start, h), ballotOf(2, 1, start, h))
	e := run(t, p, &Proved{Term: 1})
	require.Equal(t, []StreamStart{{0, 0x1000000, true}, {1, 0x1000000, true}}, e.Stream)

	q := bare(3, nil) // Neon's acceptor makes it up
	for i := range 2 {
		g := hello(pushwal.NodeID(i+1), pushwal.Configuration{}, 0)
		g.Greeting.Options = nil
		run(t, q, g)
	}
	for i := range 2 {
		v := ballotOf(i+1, 1, start, h)
		v.Response.Generation = 0
		run(t, q, v)
	}
	require.Equal(t, StreamStart{0, testStart, false}, run(t, q, &Proved{Term: 1}).Stream[0])
}

func TestNegotiation(t *testing.T) {
	g := hello(1, gen1, 0)
	g.Greeting.Options = nil
	_, err := bare(3, nil).Step(g)
	require.NoError(t, err)
	_, err = bare(3, func(c *ProposerConfig) { c.SegmentSize = 1 << 20 }).Step(g)
	require.ErrorIs(t, err, ErrNegotiation)
	_, err = bare(3, func(c *ProposerConfig) {
		c.TLIHistory = wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: 5}}}
	}).Step(g)
	require.ErrorIs(t, err, ErrNegotiation)
}

func TestPromotedServer(t *testing.T) {
	second := wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: testStart + 100}}}
	promoted := func(t *testing.T) *Proposer {
		p := bare(3, func(c *ProposerConfig) { c.TLIHistory = second })
		run(t, p, hello(1, gen1, 0), hello(2, gen1, 0), hello(3, gen1, 0))
		return p
	}
	h := history(0, start)
	t.Run("majority below the switch", func(t *testing.T) {
		p := promoted(t)
		require.Nil(t, run(t, p, ballotOf(1, 1, start+500, h), ballotOf(2, 1, start+100, h)).Prove, "one of two lies beyond")
		e := run(t, p, ballotOf(3, 1, start+90, h))
		require.Equal(t, testStart+100, e.Prove.Upto)
		require.Equal(t, []VotePosition{{0, 1, 0, testStart + 500, false}, {1, 2, 0, testStart + 100, true}, {2, 3, 0, testStart + 90, true}}, e.Prove.Votes)
		e = run(t, p, &Proved{Term: 1})
		require.Equal(t, testStart+100, e.Stream[0].At, "the uncommitted tail is cut")
		require.Equal(t, wal.TLI(2), p.AppendRequest(testStart+100, nil).TLI)
		require.Equal(t, wal.TLI(1), p.AppendRequest(testStart+99, nil).TLI)
		require.Equal(t, testStart+100, p.Bound(testStart+50, testStart+200))
		require.Equal(t, testStart+200, p.Bound(testStart+100, testStart+200))
	})
	t.Run("majority beyond the switch", func(t *testing.T) {
		p := promoted(t)
		e := run(t, p, ballotOf(1, 1, start+500, h), ballotOf(2, 1, start+101, h))
		require.ErrorIs(t, e.Fatal, ErrTimeline)
		require.Equal(t, testStart+500, e.Fatal.LSN)
		require.Equal(t, pushwal.NodeID(1), e.Fatal.Node)
	})
	t.Run("the third does not come", func(t *testing.T) {
		p := promoted(t)
		run(t, p, ballotOf(1, 1, start+500, h), ballotOf(2, 1, start+100, h))
		for range tickPatience - 1 {
			require.Nil(t, run(t, p, &Tick{}).Fatal)
		}
		require.ErrorIs(t, run(t, p, &Tick{}).Fatal, ErrTimeline)
	})
	t.Run("two servers with one number", func(t *testing.T) {
		p := promoted(t)
		v := func(id int) *Voted {
			b := ballotOf(id, 1, start, h)
			b.Response.TLIHistory = wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: testStart + 60}}}
			return b
		}
		require.Nil(t, run(t, p, v(1)).Fatal)
		require.ErrorIs(t, run(t, p, v(2)).Fatal, ErrTimeline)
	})
}

// The bytes that a quorum has on disk need not be kept, whole records or not;
// those of one that is gone do not count, for it will be cut.
func TestHeldIsWhatAQuorumHasOnDisk(t *testing.T) {
	part := func(id int, flush, durable uint64) *Appended {
		a := ack(id, 5, flush)
		a.Response.DurableLSN = wal.LSN(durable)
		return a
	}
	p := leader(t)
	p.available = testStart + 1000
	require.Zero(t, run(t, p, part(1, start+200, start+700)).Held)
	e := run(t, p, part(2, start+200, start+600))
	require.Equal(t, testStart+200, e.Commit)
	require.Equal(t, testStart+600, e.Held)
	require.Equal(t, testStart+700, run(t, p, part(2, start+200, start+900)).Held)
	run(t, p, &Disconnected{1})
	require.Zero(t, run(t, p, part(1, start+200, start+950)).Held)
	require.Equal(t, testStart+200, p.CommitLSN())
}

// A peer that nobody can fill is needed when those that can go on are no quorum.
func TestStarvingPeersAreNeededForAQuorumOnly(t *testing.T) {
	p := leader(t)
	run(t, p, ballotOf(3, 5, start+40, history(0, start, 4, start)))
	run(t, p, ack(1, 5, start+100), ack(2, 5, start+100), ack(3, 5, start+50))
	require.False(t, p.Starve(2))
	require.True(t, p.Starve(1))
	run(t, p, ack(3, 5, start+60)) // has been fed
	require.False(t, p.Starve(1))
	run(t, p, &Disconnected{0})
	require.True(t, p.Starve(1))
	require.False(t, p.Starve(0), "is not connected")
	require.False(t, p.Starve(7))
}

func TestC4TruncateIsWhatEveryoneHas(t *testing.T) {
	p := leader(t)
	e := run(t, p, ack(1, 5, start+300), ack(2, 5, start+250))
	require.Equal(t, testStart+250, e.Commit)
	require.Zero(t, e.Truncate, "node 3 has not answered")
	run(t, p, ballotOf(3, 5, start+10, history(0, start)))
	require.Equal(t, testStart+40, run(t, p, ack(3, 5, start+40)).Truncate)
	require.Equal(t, testStart+250, run(t, p, ack(3, 5, start+5000)).Truncate, "not beyond the commit position")
}

func TestHeadlessRun(t *testing.T) {
	c := newTestCluster(gen1, 3)
	w := c.propose("writer", 0, nil)
	w.elect(t, 1, 2)
	w.write(100)
	w.links[0].deliver(w) // only node 1 gets it
	c.nodes[0].sync()
	w.disconnect(1, 2)

	p := c.propose("sync", 0, func(pc *ProposerConfig) { pc.Headless, pc.SystemID = true, 0 })
	p.connect(1, 3)
	c.settle([]string{"sync"}, []int{1, 3})
	require.Nil(t, p.request, "nothing to prove")
	require.Equal(t, testStart+100, p.election.Start)
	require.Equal(t, testStart+100, p.commit)
	require.True(t, p.synced)
	require.Equal(t, testStart+100, c.node(1).disk.CommitLSN)
	require.Equal(t, testStart+100, c.node(3).disk.CommitLSN)
}

func TestDonor(t *testing.T) {
	p := leader(t)
	peer, upto, ok := p.Donor()
	require.True(t, ok)
	require.Equal(t, 0, peer)
	require.Equal(t, testStart+100, upto)
	run(t, p, ack(2, 5, start+300))
	peer, upto, _ = p.Donor()
	require.Equal(t, 1, peer)
	require.Equal(t, testStart+300, upto)
	run(t, p, &Disconnected{0}, &Disconnected{1})
	_, _, ok = p.Donor()
	require.False(t, ok)
}

func TestLegacyListCountsDistinctNodes(t *testing.T) {
	none := pushwal.Configuration{}
	p := bare(3, nil)
	run(t, p, hello(1, none, 0))
	_, err := p.Step(&Greeted{1, hello(1, none, 0).Greeting})
	require.ErrorIs(t, err, ErrConfiguration, "one node under two addresses")
	require.Len(t, run(t, p, hello(3, none, 0)).Send, 2)
}

func TestEvaluate(t *testing.T) {
	look := func(id pushwal.NodeID, flush wal.LSN) Look {
		return Look{
			Peer: int(id) - 1, Node: id, Incarnation: incarnation(id), SystemID: 7, PGVersion: 170000, SegmentSize: testSegment,
			Config: gen1, Term: wal.Term(id), History: history(0, start), FlushLSN: flush, CommitLSN: testStart,
		}
	}
	c := bare(3, nil).c
	s, err := Evaluate(c, []Look{look(1, testStart+5), look(3, testStart+7)})
	require.NoError(t, err)
	require.True(t, s.Quorum)
	require.Equal(t, wal.Term(3), s.MaxTerm)
	require.Equal(t, pushwal.NodeID(3), s.Proof.DonorNode)
	require.Equal(t, testStart+7, s.Proof.Upto)

	wiped := look(2, testStart+99)
	wiped.Incarnation = incarnation(9)
	s, err = Evaluate(c, []Look{look(1, testStart+5), wiped})
	require.NoError(t, err)
	require.False(t, s.Quorum)

	wiped.Term = math.MaxUint64
	s, err = Evaluate(c, []Look{look(1, testStart+5), wiped, look(3, testStart+7)})
	require.NoError(t, err)
	require.Equal(t, wal.Term(3), s.MaxTerm, "who does not count does not drive terms up")

	foreign := look(2, testStart)
	foreign.SystemID = 8
	_, err = Evaluate(c, []Look{look(1, testStart), foreign})
	require.ErrorIs(t, err, ErrIdentity)

	c.TLIHistory = wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: testStart + 4}}}
	_, err = Evaluate(c, []Look{look(1, testStart+5), look(3, testStart)})
	require.ErrorIs(t, err, ErrTimeline)
}

func TestAcknowledgementsDoNotAllocate(t *testing.T) {
	p := leader(t)
	a := ack(1, 5, start+200)
	run(t, p, a)
	alloctest.None(t, 100, func() { _, _ = p.Step(a) })
}
