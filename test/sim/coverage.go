package sim

import (
	"hash/maphash"
	"slices"

	"github.com/walhaven/walhaven/wal"
)

var coverageSeed = maphash.MakeSeed()

// seeTheState notes what is there as an onlooker would say it in a few words, so that
// the number of different states says how much of what can be was met. Positions and
// terms count by their order, nodes that play one part are interchangeable.
func (wd *World) seeTheState() {
	var terms []wal.Term
	for _, n := range wd.nodes {
		if n.disk != nil {
			s := &n.disk.view().state
			terms = append(terms, s.Term, s.History[len(s.History)-1].Term)
		}
	}
	for _, w := range wd.writers {
		terms = append(terms, w.p.Term())
	}
	slices.Sort(terms)
	terms = slices.Compact(terms)
	rank := func(t wal.Term) byte {
		i, _ := slices.BinarySearch(terms, t)
		return byte(min(len(terms)-i, 3)) // the newest is 1
	}
	end := base + wal.LSN(len(wd.committed))
	var parts [16]uint64
	k := 0
	for _, n := range wd.nodes {
		parts[k], k = n.part(rank, end), k+1
	}
	slices.Sort(parts[:k])
	writers := parts[k:k]
	for _, w := range wd.writers {
		if len(writers) < cap(writers) {
			writers = append(writers, w.part(rank, end))
		}
	}
	slices.Sort(writers)
	var h maphash.Hash
	h.SetSeed(coverageSeed)
	for _, p := range parts[:k+len(writers)] {
		maphash.WriteComparable(&h, p)
	}
	wd.states[h.Sum64()] = struct{}{}
}

// part is what a node looks like.
func (n *node) part(rank func(wal.Term) byte, committed wal.LSN) uint64 {
	if n.disk == nil {
		return 1
	}
	m := n.disk.view()
	s := &m.state
	p := uint64(2)
	for _, b := range []byte{
		byte(boolInt(n.up)), byte(boolInt(n.cutIn == s.Term && s.Term > 0)), byte(boolInt(s.Joining || s.Proposed.Generation > 0)),
		byte(boolInt(m.durable < len(m.bytes))), byte(boolInt(s.CommitLSN == committed)),
		compare(m.flushed, committed), rank(s.Term), rank(s.History[len(s.History)-1].Term),
	} {
		p = p<<4 | uint64(b)
	}
	return p
}

// part is what a writer looks like.
func (w *writer) part(rank func(wal.Term) byte, committed wal.LSN) uint64 {
	p := uint64(3)
	start := byte(3)
	if w.election != nil {
		start = compare(w.commit, w.election.Start)
	}
	for _, b := range []byte{
		byte(boolInt(w.server == nil)), byte(boolInt(w.proving != nil)), start, compare(w.commit, committed), rank(w.p.Term()),
	} {
		p = p<<4 | uint64(b)
	}
	return p
}

func compare(a, b wal.LSN) byte {
	switch {
	case a < b:
		return 0
	case a == b:
		return 1
	}
	return 2
}
