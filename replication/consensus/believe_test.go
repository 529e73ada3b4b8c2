package consensus

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
)

// refounded is what nodes know that were founded again after the given ones had
// lost their disks.
func refounded(lost ...pushwal.NodeID) pushwal.Configuration {
	c := pushwal.Configuration{Generation: 1, Members: members(1, 2, 3)}
	for _, id := range lost {
		c.Members[id-1].Incarnation = incarnation(id + 100)
	}
	return c
}

func says(id pushwal.NodeID, c pushwal.Configuration) Look {
	return Look{
		Peer: int(id) - 1, Node: id, Incarnation: c.Members[id-1].Incarnation, Config: c,
		SystemID: 7, PGVersion: 170002, SegmentSize: testSegment, FlushLSN: testStart, History: history(0, start),
	}
}

func TestMembershipIsTheMajoritys(t *testing.T) {
	unknown := refounded()
	for i := range unknown.Members {
		unknown.Members[i].Incarnation = pushwal.Incarnation{}
	}
	vague := says(1, unknown)
	vague.Incarnation = incarnation(1)
	newer := refounded(3)
	newer.Generation = 2
	joining := says(3, newer)
	joining.Joining = true
	wrong := refounded(1, 2, 3)

	for name, tc := range map[string]struct {
		looks  []Look
		counts []bool
		want   pushwal.Configuration
	}{
		"all agree":                    {[]Look{says(1, gen1), says(2, gen1), says(3, gen1)}, []bool{true, true, true}, gen1},
		"refounded answers first":      {[]Look{says(3, refounded(3)), says(1, gen1), says(2, gen1)}, []bool{false, true, true}, gen1},
		"refounded answers last":       {[]Look{says(1, gen1), says(2, gen1), says(3, refounded(3))}, []bool{true, true, false}, gen1},
		"refounded, others were wrong": {[]Look{says(3, wrong), says(1, gen1), says(2, gen1)}, []bool{false, true, true}, gen1},
		"filled in":                    {[]Look{vague, says(2, gen1)}, []bool{true, true}, gen1},
		"joining is not heard":         {[]Look{joining, says(1, gen1), says(2, gen1)}, []bool{false, true, true}, gen1},
		"nobody":                       {nil, []bool{}, pushwal.Configuration{}},
	} {
		t.Run(name, func(t *testing.T) {
			c, counts, err := Believe(tc.looks)
			require.NoError(t, err)
			require.Equal(t, tc.counts, counts)
			require.Equal(t, tc.want, c)
		})
	}
}

// One member that answers and one that was founded anew are no quorum, in
// whatever order they are heard.
func TestRefoundedMemberMakesNoQuorum(t *testing.T) {
	c := ProposerConfig{SystemID: 7, PGVersion: 170005, SegmentSize: testSegment, Peers: 3}
	for _, looks := range [][]Look{
		{says(2, gen1), says(3, refounded(3))},
		{says(3, refounded(3)), says(2, gen1)},
	} {
		s, err := Evaluate(c, looks)
		require.NoError(t, err, "the third may still answer")
		require.False(t, s.Quorum)
	}
	s, err := Evaluate(c, []Look{says(3, refounded(3)), says(2, gen1), says(1, gen1)})
	require.NoError(t, err)
	require.True(t, s.Quorum)
	require.Equal(t, gen1, s.Config)
}

// A majority that was founded anew has forgotten what it acknowledged. The
// member that knows better is heard while it is there.
func TestRefoundedMajorityIsContradicted(t *testing.T) {
	anew := refounded(2, 3)
	_, err := Evaluate(ProposerConfig{SystemID: 7, PGVersion: 170005, SegmentSize: testSegment, Peers: 3},
		[]Look{says(2, anew), says(3, anew), says(1, gen1)})
	require.ErrorIs(t, err, ErrConfiguration)
	require.ErrorContains(t, err, "node 1 knows")
}

// A campaign is for the members that the look found, whoever greets first.
func TestRefoundedMemberGreetsFirst(t *testing.T) {
	p := bare(3, func(c *ProposerConfig) { c.Members = gen1 })
	anew := hello(3, refounded(3), 0)
	anew.Greeting.Options.Incarnation = incarnation(103)
	newer := hello(3, refounded(3), 0)
	newer.Greeting.Options.Incarnation = incarnation(103)
	newer.Greeting.Config.Generation = 2
	for _, g := range []*Greeted{anew, newer, anew} {
		_, err := p.Step(g)
		require.ErrorIs(t, err, ErrConfiguration)
	}
	e := run(t, p, hello(1, gen1, 0), hello(2, gen1, 0))
	require.Empty(t, e.Drop)
	require.Len(t, e.Send, 2, "the others go on")
}

// A joining node does not count for commits, but what it holds need not be kept
// for it.
func TestJoiningNodeDoesNotHoldTheHorizon(t *testing.T) {
	p := leader(t)
	joining := hello(3, gen1, 0)
	joining.Greeting.Options.Joining = true
	run(t, p, joining)
	run(t, p, &Voted{2, &pushwal.VoteResponse{Generation: 1, FlushLSN: testStart, History: history(0, start)}})
	run(t, p, ack(1, 5, start+300), ack(2, 5, start+300))
	require.Equal(t, testStart, p.TruncateLSN(), "it has nothing yet")
	e := run(t, p, ack(3, 5, start+200))
	require.Zero(t, e.Commit)
	require.Equal(t, testStart+200, e.Truncate)
	e = run(t, p, ack(3, 5, start+400))
	require.Equal(t, testStart+300, e.Truncate, "never beyond the commit")
}
