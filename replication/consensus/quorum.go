package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// voterSet is nodes of which a majority has to agree. size may exceed the
// number of nodes: the others are not known yet, and agree to nothing.
type voterSet struct {
	nodes []pushwal.NodeID
	size  int
}

func (s voterSet) majority() int { return s.size/2 + 1 }

func (s voterSet) count(is func(pushwal.NodeID) bool) (n int) {
	for _, id := range s.nodes {
		if is(id) {
			n++
		}
	}
	return n
}

// electorate is the sets that each need a majority: one, or two while the
// membership changes (R10). An empty one never agrees.
type electorate []voterSet

// electorateOf returns the voters of a configuration. Without a generation they
// are whoever is behind the peers of the list, as many as it is long.
func electorateOf(c pushwal.Configuration, peers int, bound []pushwal.NodeID) electorate {
	if c.Generation == 0 && len(c.Members) == 0 {
		return electorate{{nodes: bound, size: peers}}
	}
	e := electorate{setOf(c.Members)}
	if c.Joint() {
		e = append(e, setOf(c.NewMembers))
	}
	return e
}

func setOf(members []pushwal.Member) voterSet {
	s := voterSet{size: len(members)}
	for _, m := range members {
		s.nodes = append(s.nodes, m.ID)
	}
	return s
}

func (e electorate) has(id pushwal.NodeID) bool {
	return slices.ContainsFunc(e, func(s voterSet) bool { return slices.Contains(s.nodes, id) })
}

// quorum says whether the nodes for which is holds are a majority of each set.
func (e electorate) quorum(is func(pushwal.NodeID) bool) bool {
	for _, s := range e {
		if s.count(is) < s.majority() {
			return false
		}
	}
	return len(e) > 0
}

// reachable says whether a quorum is left when the nodes for which lost holds
// never agree. Unknown nodes may still.
func (e electorate) reachable(lost func(pushwal.NodeID) bool) bool {
	for _, s := range e {
		if s.size-s.count(lost) < s.majority() {
			return false
		}
	}
	return len(e) > 0
}

// reached returns the highest position that a majority of each set has reached,
// 0 when there is none.
func (e electorate) reached(at func(pushwal.NodeID) wal.LSN) wal.LSN {
	low := everywhere
	for _, s := range e {
		low = min(low, s.reached(at))
	}
	if len(e) == 0 {
		return 0
	}
	return low
}

func (s voterSet) reached(at func(pushwal.NodeID) wal.LSN) wal.LSN {
	if len(s.nodes) < s.majority() {
		return 0
	}
	lsns := make([]wal.LSN, 0, 8)
	for _, id := range s.nodes {
		lsns = append(lsns, at(id))
	}
	slices.Sort(lsns)
	return lsns[len(lsns)-s.majority()]
}

// everyone returns the position that all voters have reached.
func (e electorate) everyone(at func(pushwal.NodeID) wal.LSN) wal.LSN {
	low := everywhere
	for _, s := range e {
		if len(s.nodes) < s.size {
			return 0
		}
		for _, id := range s.nodes {
			low = min(low, at(id))
		}
	}
	if len(e) == 0 {
		return 0
	}
	return low
}
