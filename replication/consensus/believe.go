package consensus

import (
	"fmt"

	"github.com/walhaven/walhaven/protocol/pushwal"
)

// Believe returns the membership that most of its own members name, of the
// newest generation that anybody knows, and which of the looks count: those of
// nodes that name the same members and are themselves the ones that are meant.
//
// A node that lost its disk and was founded anew by mistake names itself; that
// it is the first or the only one to answer makes it no member. The error, an
// ErrConfiguration, says that a majority names members that another member, one
// that it means itself, contradicts: somebody has to look at this, for which
// side holds what was acknowledged cannot be told.
func Believe(looks []Look) (pushwal.Configuration, []bool, error) {
	var newest pushwal.Generation
	for _, l := range looks {
		if !l.Joining {
			newest = max(newest, l.Config.Generation)
		}
	}
	var best pushwal.Configuration
	var counts []bool
	most := -1
	for _, l := range looks {
		if l.Joining || l.Config.Generation != newest {
			continue
		}
		c := filled(l.Config, looks)
		in, n := supporters(c, looks)
		if n > most {
			best, counts, most = c, in, n
		}
	}
	if counts == nil {
		counts = make([]bool, len(looks))
	}
	return best, counts, contradiction(best, looks, counts)
}

// filled is c with the incarnations that others know who name the same members.
func filled(c pushwal.Configuration, looks []Look) pushwal.Configuration {
	for _, l := range looks {
		if !l.Joining && sameConfiguration(l.Config, c) {
			c = withIncarnations(c, l.Config)
		}
	}
	return c
}

// supporters returns who counts under c, and how many members that are.
func supporters(c pushwal.Configuration, looks []Look) (in []bool, members int) {
	in = make([]bool, len(looks))
	for i, l := range looks {
		in[i] = !l.Joining && sameConfiguration(l.Config, c) && !lostData(c, l.Node, l.Incarnation)
		if in[i] && (legacy(c) || len(membersOf(c, l.Node)) > 0) {
			members++
		}
	}
	return in, members
}

func contradiction(c pushwal.Configuration, looks []Look, counts []bool) error {
	counted := func(m pushwal.Member) bool {
		for i, l := range looks {
			if l.Node == m.ID && means(m, l.Incarnation) && counts[i] {
				return true
			}
		}
		return false
	}
	if legacy(c) || !electorateOf(c, 0, nil).quorum(counted) {
		return nil
	}
	for i, l := range looks {
		if counts[i] || l.Joining || l.Config.Generation != c.Generation ||
			len(membersOf(c, l.Node)) == 0 || lostData(c, l.Node, l.Incarnation) {
			continue
		}
		return errf(ErrConfiguration, "node %d knows %s in generation %d, the others know %s: data directories were replaced and founded again; "+
			"what was acknowledged may be on node %d alone", l.Node, nodesOf(l.Config), c.Generation, nodesOf(c), l.Node).node(l.Node)
	}
	return nil
}

// nodesOf names members and their incarnations.
func nodesOf(c pushwal.Configuration) string {
	text := ""
	for i, m := range c.Members {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("node %d of incarnation %s", m.ID, m.Incarnation)
	}
	return text
}
