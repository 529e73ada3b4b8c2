package sim

import (
	"slices"

	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// converge ends all faults, with as many nodes down as a quorum can spare: a
// headless run must then be elected, have a quorum persist the end, and bring
// every node there that is up and can count.
func (wd *World) converge() {
	wd.calm = true
	for _, w := range wd.writers {
		w.kill()
	}
	wd.writers, wd.links, wd.cut = nil, nil, map[[2]int]bool{}
	spare := (len(wd.nodes)-1)/2 - wd.wiped()
	for _, i := range wd.rng.Perm(len(wd.nodes)) {
		n := wd.nodes[i]
		if n.up {
			n.crash()
		}
		if n.disk == nil {
			continue
		}
		if wd.cfg.Spares > 0 {
			n.start()
			continue
		}
		if spare > 0 && !n.wiped && wd.rng.IntN(2) == 0 {
			spare--
			continue
		}
		n.start()
	}
	w := wd.newWriter(nil)
	for i := 0; i < 4000 && wd.err == nil && !wd.settled(w); i++ {
		for range 2 { // Else more is written than arrives.
			wd.deliver()
		}
		if i < 100 && i%9 == 8 && len(wd.links) > 0 { // answers get lost with their connections
			wd.breakLink(wd.links[wd.rng.IntN(len(wd.links))], wd.rng.IntN(2) == 0)
			wd.sweep()
		}
		switch i % 5 {
		case 0:
			wd.syncAll()
		case 2:
			w.write()
		case 4:
			w.reachAll()
			if w.dead {
				w = wd.newWriter(nil)
			}
		}
	}
	if wd.err == nil && !wd.agreeing(w) {
		wd.stats.count("servers promoted to one number hinder a quorum", 1)
		return
	}
	if wd.err == nil && !wd.settled(w) {
		wd.fail("no convergence: elected %t, synced %t%s", w.election != nil, w.synced, wd.memberships())
		return
	}
	wd.goOn(w)
}

// goOn has a server that was made from what a headless run committed write on: all of
// it must be committed.
func (wd *World) goOn(headless *writer) {
	s := restored("last", headless.truth, headless.election.TLIHistory, wd.newSeq())
	headless.kill()
	wd.tidy()
	w, end := wd.newWriter(s), wal.LSN(0)
	for i := 0; i < 4000 && wd.err == nil && (end == 0 || w.commit < end); i++ {
		if w.dead {
			w, end = wd.newWriter(s), 0
		}
		for range 2 { // Else more is written than arrives.
			wd.deliver()
		}
		switch i % 5 {
		case 0:
			wd.syncAll()
		case 1:
			w.prove()
		case 2:
			if w.election == nil {
				continue
			}
			if end == 0 {
				s.message(100)
				end = s.end()
			}
			w.write()
		case 4:
			w.reachAll()
		}
	}
	if wd.err == nil && w.commit < end {
		wd.fail("commits do not go on: elected %t, written %s, committed %s%s", w.election != nil, end, w.commit, wd.memberships())
	}
}

// syncAll brings to the disks of all nodes that are up what they have written.
func (wd *World) syncAll() {
	for _, n := range wd.nodes {
		if n.up {
			n.sync()
		}
	}
}

// reachAll connects to every node that is not connected, and lets time pass.
func (w *writer) reachAll() {
	for p := range w.wd.nodes {
		w.connect(p)
	}
	w.step(&consensus.Tick{})
}

func (wd *World) settled(w *writer) bool {
	if w.election == nil || !w.synced {
		return false
	}
	for _, n := range wd.nodes {
		if n.up && !wd.out(n, w) && n.acceptor.CommitLSN() < w.election.Start && !contradicts(n.acceptor.State().TLIHistory, w.election.TLIHistory) {
			return false
		}
	}
	return true
}

// agreeing says whether a quorum is up that does not refuse the election, or an election
// with any node's history, for another promotion to the same number. Without one only
// further nodes help.
func (wd *World) agreeing(w *writer) bool {
	if w.election != nil {
		return wd.agreed(w, w.election.TLIHistory)
	}
	twice, agreed := false, false
	for _, n := range wd.nodes {
		if !n.up || wd.out(n, w) {
			continue
		}
		h := n.acceptor.State().TLIHistory
		agreed = agreed || wd.agreed(w, h)
		twice = twice || slices.ContainsFunc(wd.nodes, func(o *node) bool {
			return o.up && !wd.out(o, w) && contradicts(o.acceptor.State().TLIHistory, h)
		})
	}
	return agreed || !twice
}

func (wd *World) agreed(w *writer, h wal.TimelineHistory) bool {
	if wd.cfg.Spares > 0 {
		return wd.quorumAgrees(w, h)
	}
	n := 0
	for _, o := range wd.nodes {
		if o.up && !wd.out(o, w) && !contradicts(o.acceptor.State().TLIHistory, h) {
			n++
		}
	}
	return n > len(wd.nodes)/2
}

// contradicts says whether two servers were promoted to one number, so that a
// node that heard of the first refuses the second, for good.
func contradicts(a, b wal.TimelineHistory) bool {
	for _, e := range append(slices.Clone(a.Ancestors), wal.HistoryEntry{TLI: a.Last}) {
		x, _ := a.Begin(e.TLI)
		if y, ok := b.Begin(e.TLI); ok && x != y {
			return true
		}
	}
	return false
}
