package consensus

import (
	"reflect"
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// truth is the WAL of the proposer that won a term.
func (w *xWorld) truth(t wal.Term, upto wal.LSN) string {
	for _, l := range w.ghost.leaders {
		if l.term == t {
			b := w.props[l.slot].wal
			return string(b[:min(len(b), int(upto-xStart))])
		}
	}
	return ""
}

// checkElected: no term is won twice (S1), the winner has what the voters hold,
// and everything that lower terms committed (S4).
func (w *xWorld) checkElected(slot int, e *Election) {
	p := w.props[slot]
	for _, l := range w.ghost.leaders {
		if l.term == e.Term {
			w.fail("S1: term %d was won twice", e.Term)
			return
		}
	}
	voters := w.truth(e.History[len(e.History)-2].Term, e.Start)
	if len(voters) < int(e.Start-xStart) || len(p.wal) < len(voters) || string(p.wal[:len(voters)]) != voters {
		w.fail("invariant 4: the proposer of term %d starts at %s with %q, the voters hold %q", e.Term, e.Start, p.wal, voters)
		return
	}
	below := 0
	for _, l := range w.ghost.leaders {
		if l.term < e.Term && w.props[l.slot].commit != 0 {
			below = max(below, int(w.props[l.slot].commit-xStart))
		}
	}
	if below > len(p.wal) || below > int(e.Start-xStart) || string(p.wal[:below]) != w.ghost.committed[:below] {
		w.fail("S4: the proposer of term %d starts at %s with %q, committed was %q", e.Term, e.Start, p.wal, w.ghost.committed[:below])
	}
	w.ghost.leaders = append(slices.Clip(w.ghost.leaders), xLeader{e.Term, slot, e.Start})
}

// checkCommit: what is acknowledged is so for good (invariants 1 and 2).
func (w *xWorld) checkCommit(slot int, c wal.LSN) {
	p, n := w.props[slot], int(c-xStart)
	if n > len(p.wal) {
		w.fail("the proposer of term %d commits %s, its WAL ends at %s", p.election.Term, c, p.end())
		return
	}
	for _, l := range w.ghost.leaders {
		if l.term > p.election.Term && c > l.start {
			w.fail("invariant 2: the proposer of term %d commits %s after term %d was won at %s", p.election.Term, c, l.term, l.start)
			return
		}
	}
	m := min(n, len(w.ghost.committed))
	if string(p.wal[:m]) != w.ghost.committed[:m] {
		w.fail("S4: the proposer of term %d commits %q, committed was %q", p.election.Term, p.wal[:n], w.ghost.committed)
		return
	}
	if n > m {
		w.ghost.committed = string(p.wal[:n])
	}
}

// checkTruncate: nobody is told to forget what a member may need (C4).
func (w *xWorld) checkTruncate(p *xProp, l wal.LSN) {
	if l < p.truncate || l > max(p.p.CommitLSN(), p.election.Start) {
		w.fail("C4: the proposer of term %d says truncate %s after %s", p.election.Term, l, p.truncate)
	}
	p.truncate = l
	for _, n := range w.nodes {
		if names(p.p.conf, n.id, n.disk.Incarnation) && n.life == 0 && n.flushed() < l {
			w.fail("C4: truncate %s, node %d holds %s", l, n.id, n.flushed())
		}
	}
}

// inForce notes a membership that somebody holds to be in force: there is one of
// each generation (S5).
func (w *xWorld) inForce(c pushwal.Configuration) {
	for _, o := range w.ghost.configs {
		if o.Generation == c.Generation {
			if !reflect.DeepEqual(o, c) {
				w.fail("S5: generation %d is in force with %v and with %v", c.Generation, o, c)
			}
			return
		}
	}
	w.ghost.configs = append(slices.Clip(w.ghost.configs), c)
	slices.SortFunc(w.ghost.configs, func(a, b pushwal.Configuration) int { return int(a.Generation) - int(b.Generation) })
}

// check judges a state: each node that the step changed, and every quorum.
func (w *xWorld) check() {
	for _, n := range w.nodes {
		if slices.Contains(w.fresh, any(n)) && w.err == "" {
			w.checkNode(n)
		}
	}
	if w.err == "" {
		w.checkQuorums()
	}
}

// checkNode: what a node says is so (C1, C5, invariant 3), and its log holds what
// its history claims (S3).
func (w *xWorld) checkNode(n *xNode) {
	c := n.a.CommitLSN()
	switch {
	case n.a.FlushLSN() > n.flushed() && w.s.broken != ackBeforeSync:
		w.fail("C5: node %d says that %s is durable, %s is", n.id, n.a.FlushLSN(), n.flushed())
	case c > n.a.FlushLSN() || c < n.disk.CommitLSN:
		w.fail("C1: node %d is at commit %s, persisted %s, durable %s", n.id, c, n.disk.CommitLSN, n.a.FlushLSN())
	case int(c-xStart) > len(w.ghost.committed) || string(n.log[:min(len(n.log), int(c-xStart))]) != w.ghost.committed[:c-xStart]:
		w.fail("invariant 3: node %d holds %q and knows %s to be committed, committed is %q", n.id, n.log, c, w.ghost.committed)
	}
	h := n.disk.History
	for i, e := range h {
		end := n.flushed()
		if i+1 < len(h) {
			end = min(end, h[i+1].LSN)
		}
		if end <= e.LSN {
			continue
		}
		want := w.truth(e.Term, end)
		if len(want) < int(end-xStart) || string(n.log[e.LSN-xStart:end-xStart]) != want[e.LSN-xStart:] {
			w.fail("S3: node %d claims that %s..%s of %q is of term %d, which wrote %q", n.id, e.LSN, end, n.log, e.Term, want)
			return
		}
	}
}

// checkQuorums: whichever quorum votes next in a membership that somebody knows,
// with all nodes crashing now, elects what holds everything that was acknowledged;
// and any two of them have a node in common.
func (w *xWorld) checkQuorums() {
	if len(w.ghost.configs) == 1 && w.ghost.committed == "" {
		return
	}
	var all []int
	for _, c := range w.ghost.configs {
		if w.knows(c.Generation) {
			all = w.quorums(all, c)
		}
	}
	for i, a := range all {
		for _, b := range all[:i] {
			if a&b == 0 {
				w.fail("two quorums could vote without each other: nodes %b and %b", a, b)
				return
			}
		}
		var best *xNode
		for k, n := range w.nodes {
			if a>>k&1 == 1 && (best == nil || best.worse(n)) {
				best = n
			}
		}
		if c := w.ghost.committed; best.durable < len(c) || string(best.log[:len(c)]) != c {
			w.fail("invariant 1: nodes %b would elect %q of term %d; acknowledged was %q", a, best.log[:best.durable], best.lastTerm(), c)
			return
		}
	}
}

func (n *xNode) lastTerm() wal.Term { return lastTerm(cutHistory(n.disk.History, n.flushed())) }

func (n *xNode) worse(o *xNode) bool {
	if t, u := n.lastTerm(), o.lastTerm(); t != u {
		return t < u
	}
	return n.durable < o.durable
}

// knows says whether a node or a proposer still goes by a generation.
func (w *xWorld) knows(g pushwal.Generation) bool {
	return slices.ContainsFunc(w.nodes, func(n *xNode) bool { return n.disk.Configuration.Generation == g }) ||
		slices.ContainsFunc(w.props, func(p *xProp) bool { return !p.ended && p.p.conf.Generation == g })
}

// quorums adds the least sets of nodes, as bits, that could elect a proposer.
func (w *xWorld) quorums(out []int, c pushwal.Configuration) []int {
	able := func(n *xNode) bool {
		s := &n.disk
		return s.Configuration.Generation <= c.Generation && names(c, n.id, s.Incarnation) &&
			(!s.Joining || s.Configuration.Generation < c.Generation && !names(s.Configuration, n.id, s.Incarnation))
	}
	e := electorateOf(c, 0, nil)
	quorum := func(mask int) bool {
		return e.quorum(func(m pushwal.Member) bool {
			return slices.ContainsFunc(w.nodes, func(n *xNode) bool {
				return n.id == m.ID && mask>>(n.id-1)&1 == 1 && means(m, n.disk.Incarnation) && able(n)
			})
		})
	}
	for mask := 1; mask < 1<<len(w.nodes); mask++ {
		least := quorum(mask)
		for k := 0; k < len(w.nodes) && least; k++ {
			least = mask>>k&1 == 0 || !quorum(mask&^(1<<k))
		}
		if least && !slices.Contains(out, mask) {
			out = append(out, mask)
		}
	}
	return out
}

// established says whether a majority of each set knows a membership.
func (w *xWorld) established(c pushwal.Configuration) bool {
	return electorateOf(c, 0, nil).quorum(func(m pushwal.Member) bool {
		return slices.ContainsFunc(w.nodes, func(n *xNode) bool {
			return n.id == m.ID && means(m, n.disk.Incarnation) && n.disk.Configuration.Generation >= c.Generation
		})
	})
}
