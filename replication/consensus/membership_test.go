package consensus

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// joiner is a node with an empty data directory that was told of gen1.
func joiner(id pushwal.NodeID, inc pushwal.Incarnation) State {
	s := testState(id, gen1)
	s.Joining, s.Incarnation = true, inc
	return s
}

// settleAll is what a driver does after Members: connections are made anew.
func (p *testProposer) settleAll(ids ...int) {
	for range 6 {
		for _, id := range ids {
			if p.links[id-1] == nil {
				p.connect(id)
			}
		}
		p.c.settle([]string{p.name}, ids)
	}
}

// four is a cluster of three members and a fourth node that joins, and a leader.
func four(t *testing.T) (*testCluster, *testProposer) {
	c := newTestCluster(gen1, 4)
	c.nodes[3] = newTestNode(4, joiner(4, incarnation(4)))
	p := c.propose("p", 0, nil)
	p.elect(t, 1, 2, 3)
	p.write(100)
	p.settleAll(1, 2, 3)
	require.Equal(t, p.end(), p.commit)
	return c, p
}

func wish(ids ...pushwal.NodeID) *Reconfigure {
	return &Reconfigure{pushwal.Configuration{Generation: 1, Members: members(ids...)}}
}

func TestMemberIsAddedWithinATerm(t *testing.T) {
	c, p := four(t)
	term := p.p.Term()
	p.step(wish(1, 2, 3, 4))
	require.Len(t, p.members.NewMembers, 4, "the driver is told whom to connect to")
	require.EqualValues(t, 1, p.p.Configuration().Generation, "nothing is proposed before node 4 is filled")
	p.settleAll(1, 2, 3, 4)
	require.Equal(t, pushwal.Configuration{Generation: 3, Members: members(1, 2, 3, 4)}, p.p.Configuration())
	require.Equal(t, term, p.p.Term())
	p.write(50)
	p.settleAll(1, 2, 3, 4)
	require.Equal(t, p.end(), p.commit)
	for _, n := range c.nodes {
		require.EqualValues(t, 3, n.disk.Configuration.Generation, "node %d", n.id)
		require.Zero(t, n.disk.Proposed.Generation)
		require.False(t, n.a.Joining(), "node %d", n.id)
		require.Equal(t, p.end(), n.a.FlushLSN())
	}
	// Three of four are a majority, two are not.
	p.disconnect(1, 2)
	p.write(10)
	c.settle([]string{"p"}, []int{3, 4})
	require.Less(t, p.commit, p.end())
}

func TestNewMemberIsFilledBeforeAnythingChanges(t *testing.T) {
	_, p := four(t)
	p.step(wish(1, 2, 3, 4))
	p.settleAll(1, 2, 3) // node 4 is not reachable
	require.EqualValues(t, 1, p.p.Configuration().Generation)
	require.Zero(t, p.p.proposal.Generation)
	p.write(10)
	p.settleAll(1, 2, 3)
	require.Equal(t, p.end(), p.commit, "and commits go on")
}

func TestDataDirectoryIsReplacedUnderItsID(t *testing.T) {
	c, p := four(t)
	fresh := incarnation(33)
	c.crash(3)
	c.nodes[2] = newTestNode(3, joiner(3, fresh))
	p.settleAll(1, 2, 3)
	require.False(t, p.p.counts(gen1.Members[2]))
	target := members(1, 2, 3)
	target[2].Incarnation = fresh
	p.step(&Reconfigure{pushwal.Configuration{Generation: 1, Members: target}})
	p.settleAll(1, 2, 3)
	require.Equal(t, pushwal.Configuration{Generation: 3, Members: target}, p.p.Configuration())
	require.False(t, c.node(3).a.Joining())
	p.write(10)
	p.disconnect(1)
	c.settle([]string{"p"}, []int{2, 3})
	require.Equal(t, p.end(), p.commit, "it counts")
	require.False(t, p.p.counts(gen1.Members[2]), "the one that is gone does not")
}

// TestReplacedNodeCountsInTheNewSetOnly: in the joint configuration one ID stands
// for two data directories.
func TestReplacedNodeCountsInTheNewSetOnly(t *testing.T) {
	target := members(1, 2, 3)
	target[2].Incarnation = incarnation(33)
	joint := pushwal.Configuration{Generation: 2, Members: members(1, 2, 3), NewMembers: target}
	require.False(t, lostData(joint, 3, incarnation(33)))
	p := &Proposer{conf: joint, nodes: map[pushwal.NodeID]*node{3: {id: 3, incarnation: incarnation(33)}}}
	p.count()
	require.False(t, p.counts(joint.Members[2]))
	require.True(t, p.counts(joint.NewMembers[2]))
	ballots := []ballot{{node: 1, data: incarnation(1)}, {node: 3, data: incarnation(33)}}
	require.False(t, choose(p.el, ballots, nil).quorum, "one of the old three")
	ballots = append(ballots, ballot{node: 2, data: incarnation(2)})
	require.True(t, choose(p.el, ballots, nil).elected)
}

func TestRemovedMemberLearnsAndIsRefused(t *testing.T) {
	c, p := four(t)
	p.step(wish(1, 2))
	p.settleAll(1, 2, 3)
	require.Equal(t, members(1, 2), p.p.Configuration().Members)
	require.EqualValues(t, 3, c.node(3).disk.Configuration.Generation)
	require.True(t, c.node(3).a.Joining(), "should it ever come back")
	_, err := c.node(3).a.vote(&connection{instance: testInstance}, &pushwal.VoteRequest{Generation: 1, Term: 99})
	require.ErrorIs(t, err, ErrConfiguration)
}

// TestR12JointEndsWhenBothSetsHoldWhatWasCommitted: the new set has to hold it by
// its own count.
func TestR12JointEndsWhenBothSetsHoldWhatWasCommitted(t *testing.T) {
	joint := pushwal.Configuration{Generation: 2, Members: members(1), NewMembers: members(2)}
	p := &Proposer{phase: leading, conf: joint, start: 100, reach: 500, nodes: map[pushwal.NodeID]*node{
		1: {id: 1, incarnation: incarnation(1), flush: 500}, 2: {id: 2, incarnation: incarnation(2), flush: 400},
	}, commit: 500, available: 500}
	p.count()
	var e ProposerEffects
	p.advance(&e)
	_, ready := p.next()
	require.False(t, ready, "node 2 lacks what node 1 alone committed")
	p.nodes[2].flush = 500
	p.advance(&e)
	next, ready := p.next()
	require.True(t, ready)
	require.Equal(t, pushwal.Configuration{Generation: 3, Members: members(2)}, next)
}

// TestProposalIsTakenUpByALaterProposer: what a minority accepted may have been
// chosen, as far as a later proposer can tell.
func TestProposalIsTakenUpByALaterProposer(t *testing.T) {
	c, p := four(t)
	p.step(wish(1, 2, 3, 4))
	p.connect(4)
	c.settle([]string{"p"}, []int{4})
	require.EqualValues(t, 2, p.p.proposal.Generation)
	c.settle([]string{"p"}, []int{2}) // node 2 alone accepts
	require.EqualValues(t, 2, c.node(2).disk.Proposed.Generation)
	require.EqualValues(t, 1, p.p.Configuration().Generation)
	p.disconnect(1, 2, 3, 4)

	q := c.propose("q", 0, nil)
	q.elect(t, 1, 2)
	require.NotNil(t, q.p.pending)
	q.step(wish(1, 2)) // another operator
	q.settleAll(1, 2, 3, 4)
	require.Equal(t, pushwal.Configuration{Generation: 3, Members: members(1, 2, 3, 4)}, q.p.Configuration())
	require.Greater(t, q.p.Term(), wal.Term(1))
}

// TestLatestBallotIsInherited: of two proposals of one generation the one of the
// later term may have been chosen.
func TestLatestBallotIsInherited(t *testing.T) {
	first := pushwal.Configuration{Generation: 2, Members: members(1, 2, 3), NewMembers: members(1, 2)}
	second := pushwal.Configuration{Generation: 2, Members: members(1, 2, 3), NewMembers: members(2, 3)}
	p := bare(3, nil)
	vote := func(id int, c pushwal.Configuration, term wal.Term) *Voted {
		v := ballotOf(id, 9, start, history(0, start))
		v.Response.Proposed, v.Response.ProposedTerm = c, term
		return v
	}
	p.c.MinTerm = 8
	run(t, p, hello(1, gen1, 0), hello(2, gen1, 0))
	run(t, p, vote(1, second, 7), vote(2, first, 5), &Proved{Term: 9})
	require.Equal(t, second, *p.pending)
}

// TestTwoProposalsOfOneGeneration: the second proposer's term overrides what a
// minority accepted of the first, and only one of them is ever in force.
func TestTwoProposalsOfOneGeneration(t *testing.T) {
	c, p := four(t)
	p.step(wish(1, 2, 3, 4))
	p.connect(4)
	c.settle([]string{"p"}, []int{4})
	c.settle([]string{"p"}, []int{1})
	require.EqualValues(t, 2, c.node(1).disk.Proposed.Generation)
	p.disconnect(1, 2, 3, 4)

	q := c.propose("q", 0, nil)
	q.elect(t, 2, 3) // does not hear of it
	q.step(wish(2, 3))
	q.settleAll(2, 3)
	require.Equal(t, members(2, 3), q.p.Configuration().Members)
	q.settleAll(1, 2, 3)
	require.Equal(t, members(2, 3), c.node(1).disk.Configuration.Members)
	require.Zero(t, c.node(1).disk.Proposed.Generation)
}

func TestConfigureRefusals(t *testing.T) {
	joint := pushwal.Configuration{Generation: 2, Members: members(1, 2, 3), NewMembers: members(1, 2, 3, 4)}
	elected := func(t *testing.T) *testNode {
		a := newTestNode(1, testState(1, gen1))
		connect(t, a, 1)
		_, err := a.step(1, &pushwal.VoteRequest{Generation: 1, Term: 5})
		require.NoError(t, err)
		_, err = a.step(1, &pushwal.ProposerElected{Generation: 1, Term: 5, StartStreamingAt: testSegment.SegmentStart(testStart), History: history(0, start, 5, start)})
		require.NoError(t, err)
		return a
	}
	ask := func(g pushwal.Generation, term wal.Term, c pushwal.Configuration) *pushwal.ConfigurationRequest {
		return &pushwal.ConfigurationRequest{Generation: g, Term: term, Config: c}
	}
	other := joint
	other.NewMembers = members(1, 2)
	unknown := joint
	unknown.NewMembers = []pushwal.Member{{ID: 1}}
	for name, tc := range map[string]struct {
		m     *pushwal.ConfigurationRequest
		cause error
	}{
		"another generation in force":  {ask(2, 5, joint), ErrConfiguration},
		"a term that was not elected":  {ask(1, 6, joint), ErrProtocol},
		"one generation skipped":       {ask(1, 5, pushwal.Configuration{Generation: 3, Members: joint.Members, NewMembers: joint.NewMembers}), ErrConfiguration},
		"not joint":                    {ask(1, 5, pushwal.Configuration{Generation: 2, Members: members(1, 2, 3, 4)}), ErrConfiguration},
		"from other members":           {ask(1, 5, pushwal.Configuration{Generation: 2, Members: members(1, 2), NewMembers: members(1)}), ErrConfiguration},
		"unknown data directory":       {ask(1, 5, unknown), ErrConfiguration},
		"two proposals in one term":    {ask(1, 5, other), ErrConfiguration},
		"first, for the one above":     {ask(1, 5, joint), nil},
		"of a lower term, to learn it": {ask(1, 4, joint), nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := elected(t)
			if name == "two proposals in one term" {
				_, err := a.step(1, ask(1, 5, joint))
				require.NoError(t, err)
			}
			before := a.a.State()
			out, err := a.step(1, tc.m)
			if tc.cause != nil {
				require.ErrorIs(t, err, tc.cause)
				require.Equal(t, before, a.a.State())
				return
			}
			r := must[*pushwal.ConfigurationResponse](t)(out, err)
			require.EqualValues(t, 5, r.Term)
			if tc.m.Term == 5 {
				require.Equal(t, joint, a.disk.Proposed, "durable before it is said")
				require.Equal(t, pushwal.Generation(2), r.Accepted)
				v := must[*pushwal.VoteResponse](t)(a.step(1, &pushwal.VoteRequest{Generation: 1, Term: 6}))
				require.Equal(t, joint, v.Proposed, "and told to who asks for a vote")
				require.EqualValues(t, 5, v.ProposedTerm)
			} else {
				require.Zero(t, a.disk.Proposed.Generation)
			}
		})
	}
	t.Run("joining", func(t *testing.T) {
		a := newTestNode(1, joiner(1, incarnation(77)))
		connect(t, a, 1)
		_, err := a.step(1, &pushwal.ProposerElected{Generation: 1, Term: 5, StartStreamingAt: testSegment.SegmentStart(testStart), History: history(0, start, 5, start)})
		require.NoError(t, err)
		_, err = a.step(1, ask(1, 5, joint))
		require.ErrorIs(t, err, ErrNotMember)
	})
}

// TestJoiningEndsByNameOnly: a data directory votes again only once the members
// have named this very one, and one that they have known all along and that was
// emptied is not named anew by a change of something else.
func TestJoiningEndsByNameOnly(t *testing.T) {
	next := pushwal.Configuration{Generation: 2, Members: members(1, 2, 3), NewMembers: members(1, 2, 3, 4)}
	emptied := testState(3, gen1)
	emptied.Joining = true // with the incarnation that it always had
	a := newTestNode(3, emptied)
	_, err := a.a.Install(next)
	require.NoError(t, err)
	require.True(t, a.a.Joining())

	other := newTestNode(4, joiner(4, incarnation(44)))
	_, err = other.a.Install(next)
	require.NoError(t, err)
	require.True(t, other.a.Joining(), "another data directory is named")

	fresh := newTestNode(4, joiner(4, incarnation(4)))
	e, err := fresh.a.Install(next)
	require.NoError(t, err)
	require.False(t, fresh.a.Joining())
	require.False(t, e.Save.Joining)
	e, err = fresh.a.Install(gen1)
	require.NoError(t, err)
	require.Nil(t, e.Save, "an older one changes nothing")
}

// What an operator forces is taken by survivors only, above every generation that
// they know, and never below what they know to be committed.
func TestForcedMembership(t *testing.T) {
	c, p := four(t)
	p.write(100)
	p.settleAll(1, 2, 3)
	survivors := pushwal.Configuration{Generation: 1001, Members: members(1)}
	a := c.nodes[0].a
	require.Equal(t, p.commit, a.CommitLSN())

	for name, tc := range map[string]struct {
		node  int
		conf  pushwal.Configuration
		upto  wal.LSN
		cause error
	}{
		"below what is committed": {1, survivors, p.commit - 1, ErrPosition},
		"not newer":               {1, pushwal.Configuration{Generation: 1, Members: members(1)}, p.commit, ErrConfiguration},
		"joint":                   {1, pushwal.Configuration{Generation: 1001, Members: members(1), NewMembers: members(1)}, p.commit, ErrConfiguration},
		"not a survivor":          {2, survivors, p.commit, ErrNotMember},
		"joining":                 {4, pushwal.Configuration{Generation: 1001, Members: members(1, 4)}, p.commit, ErrNotMember},
	} {
		before := c.nodes[tc.node-1].a.State()
		_, err := c.nodes[tc.node-1].a.Force(tc.conf, tc.upto)
		require.ErrorIs(t, err, tc.cause, name)
		require.Equal(t, before, c.nodes[tc.node-1].a.State(), name)
	}

	e, err := a.Force(survivors, p.commit)
	require.NoError(t, err)
	require.Equal(t, survivors, e.Save.Configuration, "durable before anybody counts on it")
	require.Equal(t, p.commit, e.Save.CommitLSN)
	e, err = a.Force(survivors, p.commit)
	require.NoError(t, err)
	require.Nil(t, e.Save, "the same again changes nothing")

	// A member that is left out and comes back after all is none any more.
	e, err = c.nodes[1].a.Install(survivors)
	require.NoError(t, err)
	require.True(t, e.Save.Joining)
	require.True(t, c.nodes[1].a.Joining())
}

// TestTruncateWaitsForWhoIsComing: what a node that is to become a member lacks must
// stay, for a member is given only what the others keep; also while its coming was
// proposed in an earlier term and a minority alone knows of it.
func TestTruncateWaitsForWhoIsComing(t *testing.T) {
	c, p := four(t)
	p.step(wish(1, 2))
	p.settleAll(1, 2, 3)
	p.step(&Reconfigure{pushwal.Configuration{Generation: 3, Members: members(1, 2, 3)}})
	p.connect(3)
	p.write(50)
	p.settleAll(1, 2) // node 3 left; it hears nothing yet, and the others go on
	held := c.node(3).a.FlushLSN()
	require.Equal(t, p.end(), p.commit)
	require.LessOrEqual(t, p.p.TruncateLSN(), held, "node 3 comes back, and lacks what lies behind")

	p.write(50)
	p.settleAll(1, 2, 3)
	require.Equal(t, pushwal.Configuration{Generation: 5, Members: members(1, 2, 3)}, p.p.Configuration())
	require.Equal(t, p.end(), c.node(3).a.FlushLSN(), "it has no hole")
	require.Equal(t, c.node(1).log.data, c.node(3).log.data)
	p.write(10)
	p.settleAll(1, 2, 3)
	require.Equal(t, p.commit, p.p.TruncateLSN(), "who has come holds nothing back")
}

func TestTruncateWaitsForWhoWasProposedEarlier(t *testing.T) {
	c, p := four(t)
	p.step(wish(1, 2, 3, 4))
	p.connect(4)
	c.settle([]string{"p"}, []int{4})
	c.settle([]string{"p"}, []int{1}) // node 1 alone accepts
	require.EqualValues(t, 2, c.node(1).disk.Proposed.Generation)
	p.disconnect(1, 2, 3, 4)
	held := c.node(4).a.FlushLSN()

	q := c.propose("q", 0, nil)
	q.elect(t, 2, 3) // does not hear of it
	q.settleAll(1, 2, 3)
	q.write(100)
	q.settleAll(1, 2, 3)
	require.Equal(t, q.end(), q.commit)
	require.LessOrEqual(t, q.p.TruncateLSN(), held, "a later proposer may still bring node 4 in")
	q.disconnect(1, 2, 3)

	r := c.propose("r", 0, nil)
	r.elect(t, 1, 2)
	r.settleAll(1, 2, 3, 4)
	require.Equal(t, members(1, 2, 3, 4), r.p.Configuration().Members)
	require.Equal(t, c.node(1).log.data, c.node(4).log.data)
}

// TestRemovedNodeThatWasNotMetIsToldLast: who is behind a peer is not known before it has
// greeted, and it may be a node that is no member any more.
func TestRemovedNodeThatWasNotMetIsToldLast(t *testing.T) {
	before := pushwal.Configuration{Generation: 2, Members: members(1, 2), NewMembers: members(1)}
	now := pushwal.Configuration{Generation: 3, Members: members(1)}
	p := NewProposer(ProposerConfig{ID: testID(), SystemID: 7, PGVersion: 170005, SegmentSize: testSegment, Peers: 2, Members: now})
	greets := func(id pushwal.NodeID, c pushwal.Configuration) error {
		_, err := p.Step(&Greeted{int(id) - 1, &pushwal.AcceptorGreeting{
			NodeID: id, Config: c, Options: &pushwal.AcceptorOptions{Walhaven: pushwal.Revision, Incarnation: incarnation(id)},
		}})
		return err
	}
	require.Zero(t, p.Greeting(1).Config.Generation, "it is not known who that is")
	require.ErrorIs(t, greets(2, before), ErrConfiguration)
	require.Zero(t, p.Greeting(1).Config.Generation, "its vote may be needed")
	require.ErrorIs(t, greets(1, before), ErrConfiguration)
	require.Equal(t, now, p.Greeting(0).Config, "a member")
	require.NoError(t, greets(1, now))
	require.Equal(t, now, p.Greeting(1).Config, "all members know it")
}
