package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// voterSet is members of which a majority has to agree. size may exceed their
// number: the others are not known yet, and agree to nothing.
//
// It is members and not nodes: while a node's data directory is replaced, the old
// set names the one that is gone and the new set the one that came, under one ID.
type voterSet struct {
	nodes []pushwal.Member
	size  int
}

func (s voterSet) majority() int { return s.size/2 + 1 }

func (s voterSet) count(is func(pushwal.Member) bool) (n int) {
	for _, m := range s.nodes {
		if is(m) {
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
		any := voterSet{size: peers}
		for _, id := range bound {
			any.nodes = append(any.nodes, pushwal.Member{ID: id})
		}
		return electorate{any}
	}
	e := electorate{setOf(c.Members)}
	if c.Joint() {
		e = append(e, setOf(c.NewMembers))
	}
	return e
}

func setOf(members []pushwal.Member) voterSet {
	return voterSet{size: len(members), nodes: members}
}

func (e electorate) has(id pushwal.NodeID) bool {
	return slices.ContainsFunc(e, func(s voterSet) bool {
		return slices.ContainsFunc(s.nodes, func(m pushwal.Member) bool { return m.ID == id })
	})
}

// quorum says whether the members for which is holds are a majority of each set.
func (e electorate) quorum(is func(pushwal.Member) bool) bool {
	for _, s := range e {
		if s.count(is) < s.majority() {
			return false
		}
	}
	return len(e) > 0
}

// reachable says whether a quorum is left when the members for which lost holds
// never agree. Unknown nodes may still.
func (e electorate) reachable(lost func(pushwal.Member) bool) bool {
	for _, s := range e {
		if s.size-s.count(lost) < s.majority() {
			return false
		}
	}
	return len(e) > 0
}

// reached returns the highest position that a majority of each set has reached,
// 0 when there is none.
func (e electorate) reached(at func(pushwal.Member) wal.LSN) wal.LSN {
	low := everywhere
	for _, s := range e {
		low = min(low, s.reached(at))
	}
	if len(e) == 0 {
		return 0
	}
	return low
}

func (s voterSet) reached(at func(pushwal.Member) wal.LSN) wal.LSN {
	if len(s.nodes) < s.majority() {
		return 0
	}
	lsns := make([]wal.LSN, 0, 8)
	for _, m := range s.nodes {
		lsns = append(lsns, at(m))
	}
	slices.Sort(lsns)
	return lsns[len(lsns)-s.majority()]
}

// everyone returns the position that all voters have reached.
func (e electorate) everyone(at func(pushwal.Member) wal.LSN) wal.LSN {
	low := everywhere
	for _, s := range e {
		if len(s.nodes) < s.size {
			return 0
		}
		for _, m := range s.nodes {
			low = min(low, at(m))
		}
	}
	if len(e) == 0 {
		return 0
	}
	return low
}
