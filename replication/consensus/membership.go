package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
)

// membersOf returns every entry of a configuration for a node: none, one, or one
// of each set.
func membersOf(c pushwal.Configuration, id pushwal.NodeID) []pushwal.Member {
	var out []pushwal.Member
	for _, set := range [][]pushwal.Member{c.Members, c.NewMembers} {
		for _, m := range set {
			if m.ID == id {
				out = append(out, m)
			}
		}
	}
	return out
}

// legacy says that there is no configuration: whoever is asked is a member.
func legacy(c pushwal.Configuration) bool { return c.Generation == 0 && len(c.Members) == 0 }

// lostData says whether a node of incarnation inc is not the one that the
// configuration means: its data directory was made anew.
func lostData(c pushwal.Configuration, id pushwal.NodeID, inc pushwal.Incarnation) bool {
	return slices.ContainsFunc(membersOf(c, id), func(m pushwal.Member) bool {
		return !m.Incarnation.IsZero() && m.Incarnation != inc
	})
}

// sameConfiguration says whether two configurations of one generation are the
// same as far as consensus goes (S5). Addresses are commentary, and an
// incarnation that one side does not know differs from none.
func sameConfiguration(a, b pushwal.Configuration) bool {
	same := func(x, y pushwal.Member) bool {
		return x.ID == y.ID && (x.Incarnation == y.Incarnation || x.Incarnation.IsZero() || y.Incarnation.IsZero())
	}
	return a.Generation == b.Generation &&
		slices.EqualFunc(a.Members, b.Members, same) && slices.EqualFunc(a.NewMembers, b.NewMembers, same)
}

// withIncarnations fills incarnations that c does not know from o, a
// configuration that is the same.
func withIncarnations(c, o pushwal.Configuration) pushwal.Configuration {
	fill := func(dst, src []pushwal.Member) []pushwal.Member {
		dst = slices.Clone(dst)
		for i := range dst {
			if dst[i].Incarnation.IsZero() {
				dst[i].Incarnation = src[i].Incarnation
			}
		}
		return dst
	}
	c.Members = fill(c.Members, o.Members)
	c.NewMembers = fill(c.NewMembers, o.NewMembers)
	return c
}
