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

// means says whether a member's entry is about the data directory of that
// incarnation.
func means(m pushwal.Member, inc pushwal.Incarnation) bool {
	return m.Incarnation.IsZero() || m.Incarnation == inc
}

// lostData says whether a node of incarnation inc is not the one that the
// configuration means: its data directory was made anew.
func lostData(c pushwal.Configuration, id pushwal.NodeID, inc pushwal.Incarnation) bool {
	entries := membersOf(c, id)
	return len(entries) > 0 && !slices.ContainsFunc(entries, func(m pushwal.Member) bool { return means(m, inc) })
}

// names says whether the configuration names this very data directory.
func names(c pushwal.Configuration, id pushwal.NodeID, inc pushwal.Incarnation) bool {
	return !inc.IsZero() && slices.ContainsFunc(membersOf(c, id), func(m pushwal.Member) bool { return m.Incarnation == inc })
}

// sameMembers says whether two sets are the same, data directories included.
func sameMembers(a, b []pushwal.Member) bool {
	return slices.EqualFunc(a, b, func(x, y pushwal.Member) bool { return x.ID == y.ID && x.Incarnation == y.Incarnation })
}

// checkSuccessor refuses what must not follow a configuration: a membership
// changes by way of a joint one that holds both sets, and that one ends with one
// of them alone. Any quorum of one then meets any quorum of the next.
func checkSuccessor(c, next pushwal.Configuration) error {
	bad := func(why string) error {
		return errf(ErrConfiguration, "membership generation %d does not follow generation %d: %s", next.Generation, c.Generation, why)
	}
	if err := next.Validate(); err != nil {
		return bad(err.Error())
	}
	for _, m := range slices.Concat(next.Members, next.NewMembers) {
		if m.Incarnation.IsZero() {
			return bad("a data directory is not known")
		}
	}
	switch {
	case legacy(c) || next.Generation != c.Generation+1:
		return bad("there is one in between")
	case !c.Joint() && (!next.Joint() || !sameMembers(next.Members, c.Members)):
		return bad("it has to be joint and go on from the members in force")
	case c.Joint() && (next.Joint() || !sameMembers(next.Members, c.NewMembers) && !sameMembers(next.Members, c.Members)):
		return bad("it has to be one of the two sets of the joint one")
	}
	return nil
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
