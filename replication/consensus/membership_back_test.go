package consensus

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
)

// jointWith4 is the configuration between three members and a fourth.
var jointWith4 = pushwal.Configuration{Generation: 2, Members: members(1, 2, 3), NewMembers: members(1, 2, 3, 4)}

// intoJoint brings four into the joint configuration, with all connections closed
// as it came into force, and the new set without a majority that holds what the old
// one had committed by then: that is what keeps it from ending at once.
func intoJoint(t *testing.T) (*testCluster, *testProposer) {
	c, p := four(t)
	p.step(wish(1, 2, 3, 4))
	wished := p.commit
	p.connect(4)
	l := p.links[3]
	for c.node(4).a.FlushLSN() < wished {
		for l.answer(p) {
		}
		require.True(t, l.deliver(p))
		c.route(c.node(4).sync())
	}
	p.write(10)
	c.settle([]string{"p"}, []int{1, 2})
	require.Equal(t, p.end(), p.commit)
	require.True(t, l.answer(p))
	require.EqualValues(t, 2, p.p.proposal.Generation, "node 4 has what it was wished to have")
	c.settle([]string{"p"}, []int{1, 2})
	require.Equal(t, jointWith4, p.p.Configuration())
	require.Zero(t, p.p.proposal.Generation)
	return c, p
}

// inJoint is a proposer whose look found the joint configuration.
func inJoint(c *ProposerConfig) { c.Members, c.Back = jointWith4, 2 }

// back wishes for the old members of the joint configuration.
func back() *Reconfigure {
	return &Reconfigure{pushwal.Configuration{Generation: 2, Members: members(1, 2, 3)}}
}

// TestWishIsTakenBack: as long as nothing is proposed there is nothing to undo, and
// the new node is left alone.
func TestWishIsTakenBack(t *testing.T) {
	c, p := four(t)
	p.step(wish(1, 2, 3, 4))
	require.True(t, p.p.wanted(4))
	p.step(wish(1, 2, 3))
	require.Equal(t, members(1, 2, 3), p.members.Members, "the driver is told whom to leave alone")
	require.Empty(t, p.members.NewMembers)
	p.settleAll(1, 2, 3, 4)
	require.EqualValues(t, 1, p.p.Configuration().Generation)
	require.True(t, c.node(4).a.Joining())
	p.write(10)
	p.settleAll(1, 2, 3)
	require.Equal(t, p.end(), p.commit)
}

// TestJointIsLeftForTheOldMembers: going back is one more generation, which both
// majorities accept.
func TestJointIsLeftForTheOldMembers(t *testing.T) {
	c, p := intoJoint(t)
	p.step(back())
	p.write(10)
	p.settleAll(1, 2, 3, 4)
	require.Equal(t, pushwal.Configuration{Generation: 3, Members: members(1, 2, 3)}, p.p.Configuration())
	require.True(t, c.node(4).a.Joining(), "should it ever come back")
	p.disconnect(1)
	p.write(10)
	c.settle([]string{"p"}, []int{2, 3})
	require.Equal(t, p.end(), p.commit, "two of three are a majority again")
	_, err := c.node(4).a.vote(&connection{instance: testInstance}, &pushwal.VoteRequest{Generation: 2, Term: 99})
	require.ErrorIs(t, err, ErrConfiguration)
}

// TestGoingBackNeedsBothMajorities: the old members alone cannot know that the new
// ones have not gone on.
func TestGoingBackNeedsBothMajorities(t *testing.T) {
	two := pushwal.Configuration{Generation: 2, Members: members(1, 2, 3), NewMembers: members(3, 4, 5)}
	p := &Proposer{phase: leading, conf: two, term: 7, start: 100, reach: 500, nodes: map[pushwal.NodeID]*node{}, commit: 500, available: 500}
	for id := pushwal.NodeID(1); id <= 3; id++ {
		p.nodes[id] = &node{id: id, incarnation: incarnation(id), flush: 500}
	}
	p.count()
	var e ProposerEffects
	p.want(&e, pushwal.Configuration{Generation: 2, Members: members(1, 2, 3)})
	p.advance(&e)
	_, ready := p.next()
	require.False(t, ready, "what the old members hold is not what both sets hold")
	p.nodes[4] = &node{id: 4, incarnation: incarnation(4), flush: 500}
	p.count()
	p.advance(&e)
	next, ready := p.next()
	require.True(t, ready)
	require.Equal(t, pushwal.Configuration{Generation: 3, Members: members(1, 2, 3)}, next)
	p.reconfigure(&e)
	for id := pushwal.NodeID(1); id <= 3; id++ {
		p.nodes[id].accepted = true
	}
	p.reconfigure(&e)
	require.Equal(t, two, p.conf, "the old majority has accepted, of the new one node 3 alone")
	p.nodes[4].accepted = true
	p.reconfigure(&e)
	require.Equal(t, next, p.conf)
}

// TestWhatWasProposedIsNotTakenBack: a majority may have accepted it already. Who
// comes later goes on with it, whatever an operator wants by then.
func TestWhatWasProposedIsNotTakenBack(t *testing.T) {
	c, p := intoJoint(t)
	p.connect(1, 2, 3)
	c.settle([]string{"p"}, []int{1, 2}) // no majority of the new set
	for l := p.links[2]; p.p.proposal.Generation == 0; {
		require.True(t, l.deliver(p))
		c.route(c.node(3).sync())
		for p.p.proposal.Generation == 0 {
			if !l.answer(p) {
				break
			}
		}
	}
	require.EqualValues(t, 3, p.p.proposal.Generation)
	p.step(back())
	require.Zero(t, p.p.back, "it is proposed")
	require.Equal(t, members(1, 2, 3, 4), p.p.proposal.Members)
	for p.links[1].deliver(p) { // node 2 accepts, and is not heard
	}
	require.Equal(t, members(1, 2, 3, 4), c.node(2).disk.Proposed.Members)
	p.disconnect(1, 2, 3, 4)

	q := c.propose("q", 0, inJoint)
	q.elect(t, 2, 3, 4)
	q.step(back())
	q.settleAll(1, 2, 3, 4)
	require.Equal(t, pushwal.Configuration{Generation: 3, Members: members(1, 2, 3, 4)}, q.p.Configuration())
}

// TestNextProposerGoesBack: a campaign that an operator began to take a change back
// does so as soon as it is elected, if nothing was proposed before.
func TestNextProposerGoesBack(t *testing.T) {
	c, p := intoJoint(t)
	p.connect(1, 2)
	for _, id := range []int{1, 2} { // hear of it
		require.True(t, p.links[id-1].deliver(p))
	}
	p.disconnect(1, 2)
	q := c.propose("q", 0, inJoint)
	q.elect(t, 1, 2, 3)
	q.settleAll(1, 2, 3, 4)
	require.Equal(t, pushwal.Configuration{Generation: 3, Members: members(1, 2, 3)}, q.p.Configuration())
}
