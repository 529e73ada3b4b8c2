package pushwal

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// While the membership changes each of the two sets needs its majority.
func TestMajorityOfEachSet(t *testing.T) {
	set := func(ids ...NodeID) (out []Member) {
		for _, id := range ids {
			out = append(out, Member{ID: id})
		}
		return out
	}
	one := Configuration{Generation: 1, Members: set(1, 2, 3)}
	joint := Configuration{Generation: 2, Members: set(1, 2, 3), NewMembers: set(3, 4)}
	for _, c := range []struct {
		config Configuration
		are    []NodeID
		want   bool
	}{
		{Configuration{}, []NodeID{1, 2, 3}, false},
		{one, nil, false},
		{one, []NodeID{2}, false},
		{one, []NodeID{2, 3}, true},
		{one, []NodeID{2, 4, 5}, false},
		{Configuration{Generation: 1, Members: set(1, 2)}, []NodeID{1}, false},
		{joint, []NodeID{1, 2, 3}, false},
		{joint, []NodeID{3, 4}, false},
		{joint, []NodeID{1, 3, 4}, true},
	} {
		require.Equal(t, c.want, c.config.Majority(func(m Member) bool { return slices.Contains(c.are, m.ID) }), "%v of %v", c.are, c.config)
	}
	require.Len(t, joint.All(), 5)
	require.True(t, joint.Has(1) && joint.Has(4))
	require.False(t, joint.Has(5) || one.Has(4))
}
