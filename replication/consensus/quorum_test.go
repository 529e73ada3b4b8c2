package consensus

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// The second implementations below try every subset and every position.

// dumbQuorum says whether some subset of yes that is more than half of the set
// exists in each set.
func dumbQuorum(e electorate, yes map[pushwal.NodeID]bool) bool {
	for _, s := range e {
		n := 0
		for id, y := range yes {
			if y && (electorate{s}).has(id) {
				n++
			}
		}
		if 2*n <= s.size {
			return false
		}
	}
	return len(e) > 0
}

// dumbReached is the highest of all positions that a quorum has reached.
func dumbReached(e electorate, at map[pushwal.NodeID]wal.LSN) (best wal.LSN) {
	for _, l := range at {
		yes := map[pushwal.NodeID]bool{}
		for id, m := range at {
			yes[id] = m >= l
		}
		if dumbQuorum(e, yes) {
			best = max(best, l)
		}
	}
	return best
}

func drawElectorate(t *rapid.T) electorate {
	var e electorate
	for range rapid.IntRange(0, 2).Draw(t, "sets") {
		nodes := rapid.SliceOfNDistinct(rapid.Uint64Range(1, 7), 0, 7, rapid.ID[uint64]).Draw(t, "nodes")
		s := voterSet{}
		for _, id := range nodes {
			s.nodes = append(s.nodes, pushwal.Member{ID: pushwal.NodeID(id)})
		}
		s.size = max(1, len(nodes)) + rapid.IntRange(0, 2).Draw(t, "unknown")
		e = append(e, s)
	}
	return e
}

func TestQuorumArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawElectorate(t)
		at, yes := map[pushwal.NodeID]wal.LSN{}, map[pushwal.NodeID]bool{}
		for id := pushwal.NodeID(1); id <= 7; id++ {
			at[id] = wal.LSN(rapid.Uint64Range(0, 5).Draw(t, "position"))
			yes[id] = rapid.Bool().Draw(t, "yes")
		}
		is := func(m pushwal.Member) bool { return yes[m.ID] }
		pos := func(m pushwal.Member) wal.LSN { return at[m.ID] }
		if got, want := e.quorum(is), dumbQuorum(e, yes); got != want {
			t.Fatalf("quorum of %v among %v: %t, want %t", yes, e, got, want)
		}
		if got, want := e.reached(pos), dumbReached(e, at); got != want {
			t.Fatalf("reached %v among %v: %s, want %s", at, e, got, want)
		}
		// Out of reach means: not even all others together are a quorum.
		all := slices.Clone(e)
		others := map[pushwal.NodeID]bool{}
		for i := range all {
			all[i].nodes = slices.Clone(e[i].nodes)
			for k := len(e[i].nodes); k < e[i].size; k++ { // strangers that may turn up
				all[i].nodes = append(all[i].nodes, pushwal.Member{ID: pushwal.NodeID(100 + 10*i + k)})
			}
			for _, m := range all[i].nodes {
				others[m.ID] = !yes[m.ID]
			}
		}
		if got, want := e.reachable(is), dumbQuorum(all, others); got != want {
			t.Fatalf("reachable without %v among %v: %t, want %t", yes, e, got, want)
		}
	})
}

// TestQuorumMatrix is the matrix of safekeeper-wire 8.1 (42): who may commit
// when which nodes are down.
func TestQuorumMatrix(t *testing.T) {
	set := members
	for _, tc := range []struct {
		old, joint []pushwal.Member
		talksTo    []pushwal.NodeID
		down       []pushwal.NodeID
		works      bool
	}{
		{set(1, 2, 3), nil, []pushwal.NodeID{1, 2, 3}, nil, true},
		{set(1, 2, 3), nil, []pushwal.NodeID{1, 2, 3}, []pushwal.NodeID{1}, true},
		{set(1, 2, 3), nil, []pushwal.NodeID{1, 2, 3}, []pushwal.NodeID{1, 2}, false},
		{set(1, 2, 3), set(2, 3, 4), []pushwal.NodeID{1, 2, 3, 4}, []pushwal.NodeID{1, 4}, true},
		{set(1, 2, 3), set(2, 3, 4), []pushwal.NodeID{1, 2, 3, 4}, []pushwal.NodeID{2}, true},
		{set(1, 2, 3), set(2, 3, 4), []pushwal.NodeID{1, 2, 3, 4}, []pushwal.NodeID{3}, true},
		{set(1, 2, 3), set(2, 3, 4), []pushwal.NodeID{1, 2, 3, 4}, []pushwal.NodeID{1, 2}, false},
		{set(1, 2, 3), set(2, 3, 4), []pushwal.NodeID{1, 2, 3, 4}, []pushwal.NodeID{2, 4}, false},
		{set(1, 2, 3), set(2, 3, 4), []pushwal.NodeID{2, 3, 4}, nil, true},
		{set(1, 2, 3), set(2, 3, 4), []pushwal.NodeID{2, 3, 4}, []pushwal.NodeID{2}, false},
		{set(1), nil, []pushwal.NodeID{1}, nil, true},
		{set(1), set(2), []pushwal.NodeID{1, 2}, []pushwal.NodeID{2}, false},
		{set(1, 2), nil, []pushwal.NodeID{1, 2}, []pushwal.NodeID{2}, false},
		{set(1, 2, 3, 4), nil, []pushwal.NodeID{1, 2, 3, 4}, []pushwal.NodeID{3, 4}, false},
		{set(1, 2, 3, 4, 5), nil, []pushwal.NodeID{1, 2, 3, 4, 5}, []pushwal.NodeID{4, 5}, true},
	} {
		e := electorateOf(pushwal.Configuration{Generation: 1, Members: tc.old, NewMembers: tc.joint}, 0, nil)
		up := func(m pushwal.Member) bool {
			return slices.Contains(tc.talksTo, m.ID) && !slices.Contains(tc.down, m.ID)
		}
		require.Equal(t, tc.works, e.quorum(up), "%+v", tc)
		at := func(m pushwal.Member) wal.LSN {
			if up(m) {
				return 100
			}
			return 0
		}
		require.Equal(t, tc.works, e.reached(at) == 100, "%+v", tc)
	}
}

func TestEveryone(t *testing.T) {
	at := func(m pushwal.Member) wal.LSN { return wal.LSN(m.ID) * 10 }
	require.Equal(t, wal.LSN(10), electorate{{nodes: members(3, 1), size: 2}}.everyone(at))
	require.Zero(t, electorate{{nodes: members(3, 1), size: 3}}.everyone(at), "one is not known")
	require.Zero(t, electorate{}.everyone(at))
}
