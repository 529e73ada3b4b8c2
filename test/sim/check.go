package sim

import (
	"bytes"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// truthUpto is the WAL of the proposer that won a term: what every log that
// claims the term must hold. Term 0 is what the timeline was founded with.
func (wd *World) truthUpto(t wal.Term, l wal.LSN) []byte {
	all := wd.origin.wal
	if w := wd.leaders[t]; w != nil {
		all = w.wal()
	}
	return all[:min(int(l-base), len(all))]
}

// checkElected: no term is won twice (S1, S2), the winner holds everything that
// was ever committed (S4), and its own WAL is what it was elected on (invariant
// 4 of the design).
func (wd *World) checkElected(w *writer, e *consensus.Election) {
	if wd.broken(s1, wd.leaders[e.Term] != nil) {
		wd.fail("S1: term %d was won twice", e.Term)
		return
	}
	voters := wd.truthUpto(e.History[len(e.History)-2].Term, e.Start)
	all := w.wal()
	if wd.broken(divergence, len(all) < len(voters) || !bytes.Equal(all[:len(voters)], voters)) {
		wd.fail("invariant 4: the proposer of term %d was elected though its WAL differs from the quorum's below %s", e.Term, e.Start)
		return
	}
	wd.leaders[e.Term], wd.starts[e.Term] = w, e.Start
	c := wd.committedBelow(e.Term)
	if wd.broken(s4, c > e.Start) {
		wd.fail("S4: the proposer of term %d starts at %s, committed in lower terms is %s", e.Term, e.Start, c)
		return
	}
	if wd.broken(s4, !bytes.Equal(w.wal()[:c-base], wd.committed[:c-base])) {
		wd.fail("S4: the WAL of the proposer of term %d contradicts what was committed", e.Term)
	}
	wd.checkBallots(w, e)
}

// committedBelow is what proposers of terms below t have committed. A proposer
// may take office late, when a higher term has long committed more: it can
// commit nothing then.
func (wd *World) committedBelow(t wal.Term) wal.LSN {
	c := wd.start
	for u, w := range wd.leaders {
		if u < t {
			c = max(c, w.commit)
		}
	}
	return c
}

// checkCommit: what a proposer reports to its server is the same for all, for
// good, and part of every later proposer's WAL (invariants 1 and 2).
func (wd *World) checkCommit(w *writer, c wal.LSN) {
	wd.stats.count("proposer: commit", 1)
	all := w.wal()
	n := int(c - base)
	if n > len(all) {
		wd.fail("the proposer of term %d commits %s, its WAL ends at %s", w.election.Term, c, base+wal.LSN(len(all)))
		return
	}
	if wd.broken(r3, c < w.election.Start && !wd.cfg.Break.OldTermCommit) {
		wd.fail("R3: the proposer of term %d commits %s, its term starts at %s", w.election.Term, c, w.election.Start)
		return
	}
	if wd.broken(r3, w.server != nil && c > w.end) {
		wd.fail("R3: the proposer of term %d commits %s, it has its server's WAL up to %s", w.election.Term, c, w.end)
		return
	}
	for t, start := range wd.starts {
		if wd.broken(oneWriter, t > w.election.Term && c > start) {
			wd.fail("invariant 2: the proposer of term %d commits %s after term %d was won at %s", w.election.Term, c, t, start)
			return
		}
	}
	m := min(n, len(wd.committed))
	if wd.broken(s4, !bytes.Equal(all[:m], wd.committed[:m])) {
		wd.fail("S4: the proposer of term %d commits other WAL below %s than was committed before", w.election.Term, c)
		return
	}
	if n > m {
		wd.committed, wd.commits = append(wd.committed[:m:m], all[m:n]...), append(wd.commits, c)
		err := wd.scan.Feed(base+wal.LSN(m), all[m:n])
		// Behind XLOG_SWITCH nothing comes up to the end of the segment.
		if end := wd.scan.RecordEnd(); wd.broken(c2, err != nil || end != c && (end < c || end%base != 0)) {
			wd.fail("C2: the proposer of term %d commits %s, the record in front of it ends at %s: %v", w.election.Term, c, end, err)
		}
	}
}

// checkTermRead: what leaves a donor for a proposer is that proposer's WAL (C9). Were it
// not, the laggard's log would most often refuse it, for records link back.
func (wd *World) checkTermRead(n *node, w *writer, at wal.LSN, b []byte) {
	want, from, to := w.wal(), int(at-base), int(at-base)+len(b)
	if wd.broken(c9, len(want) < to || !bytes.Equal(want[from:to], b)) {
		wd.fail("C9: node %d gives the proposer of term %d other WAL behind %s than that proposer has", n.id, w.p.Term(), at)
	}
}

// checkTruncate is C4, and that what it promises is so.
func (wd *World) checkTruncate(w *writer, l wal.LSN) {
	if wd.broken(c4, l < w.truncate || l > max(w.p.CommitLSN(), w.election.Start)) {
		wd.fail("C4: the proposer of term %d says truncate %s after %s, commit %s", w.election.Term, l, w.truncate, w.p.CommitLSN())
	}
	w.truncate = l
	if wd.cfg.Break != (Break{}) {
		return
	}
	for _, n := range wd.nodes {
		if n.disk == nil || !named(w.p.Configuration(), n) || wd.cfg.Spares == 0 && n.wiped {
			continue
		}
		if m := n.disk.view(); wd.broken(c4, max(m.flushed, wd.start) < l) {
			wd.fail("C4: truncate %s, node %d holds %s", l, n.id, m.flushed)
		}
	}
}

// checkTruncation is C3.
func (wd *World) checkTruncation(n *node, t *consensus.Truncation) {
	m := n.disk.view()
	if t.To < m.end() {
		wd.stats.count("node: WAL cut", 1)
	}
	if c := m.state.CommitLSN; wd.broken(c3, t.To < c && c > m.start) {
		wd.fail("C3: node %d is to cut its WAL at %s, it knew %s to be committed", n.id, t.To, c)
	}
	if t.Prefix {
		wd.fail("node %d makes up a prefix though its proposer can send it", n.id)
	}
}

// checkNode checks a node after it did something.
func (wd *World) checkNode(n *node) {
	m := n.disk.view()
	a := n.acceptor
	if wd.broken(c5, !wd.cfg.Break.AckBeforeSync && a.FlushLSN() > max(m.flushed, m.start)) {
		wd.fail("C5: node %d says that %s is durable, but only %s is", n.id, a.FlushLSN(), m.flushed)
	}
	c := a.CommitLSN()
	if wd.broken(c1, c > a.FlushLSN() || c < n.commit || c < m.state.CommitLSN) {
		wd.fail("C1: node %d is at commit %s after %s, persisted %s, durable %s", n.id, c, n.commit, m.state.CommitLSN, a.FlushLSN())
	}
	n.commit = c
	if g := m.state.Configuration.Generation; g > 0 {
		wd.inForce(m.state.Configuration)
	}
	if wd.broken(samePrefix, int(c-base) > len(wd.committed)) {
		wd.fail("invariant 3: node %d knows %s to be committed, nobody committed it", n.id, c)
	} else if (c > m.start || m.end() > m.start) && !m.holds(wd.committed[:c-base]) {
		wd.fail("invariant 3: node %d holds other WAL below its commit position %s", n.id, c)
	}
	wd.checkRemoved(n)
	wd.checkLog(n)
}

// checkRemoved is C12, as far as it is between members: object stores, pageservers and
// slots hold back only more.
func (wd *World) checkRemoved(n *node) {
	m := n.disk.view()
	if m.oldest == base {
		return
	}
	if wd.broken(c12, m.oldest > m.state.CommitLSN || m.oldest > m.flushed) {
		wd.fail("C12: node %d has removed WAL below %s, persisted as committed is %s, durable %s", n.id, m.oldest, m.state.CommitLSN, m.flushed)
	}
	for _, o := range wd.nodes {
		if wd.broken(c12, !o.wiped && max(o.disk.view().flushed, wd.start) < m.oldest) {
			wd.fail("C12: node %d has removed WAL below %s, node %d holds it up to %s only", n.id, m.oldest, o.id, o.disk.view().flushed)
		}
	}
}

// checkThere says whether a node still has the WAL that another one, a member unless it was
// wiped, is to be given from it.
func (wd *World) checkThere(from, to *node, at wal.LSN) bool {
	gone := at < from.disk.view().oldest
	lacks := max(to.disk.view().flushed, wd.start) < from.disk.view().oldest // else it got it from another meanwhile
	if wd.broken(c12, gone && lacks && !to.wiped) {
		wd.fail("C12: node %d is to be given WAL from %s on, node %d has it from %s on", to.id, at, from.id, from.disk.view().oldest)
	}
	return !gone
}

// checkLog: the durable log holds what its history claims (S3, R5).
func (wd *World) checkLog(n *node) {
	m := n.disk.view()
	h := m.state.History
	flush := max(m.flushed, wd.start)
	wd.checkStarts(n, h)
	for i, e := range h {
		if e.LSN > flush {
			break
		}
		end := flush
		if i+1 < len(h) {
			end = min(end, h[i+1].LSN)
		}
		end = min(end, base+wal.LSN(m.durable))
		if end <= e.LSN {
			continue
		}
		want := wd.truthUpto(e.Term, end)
		if wd.broken(s3, len(want) < int(end-base) || !bytes.Equal(m.bytes[e.LSN-base:end-base], want[e.LSN-base:])) {
			wd.fail("S3: node %d claims that %s..%s is of term %d, it is not", n.id, e.LSN, end, e.Term)
			return
		}
	}
}

// checkQuorums: whichever quorum votes next, with the nodes crashing now, its
// best voter holds everything that was acknowledged (invariant 1).
func (wd *World) checkQuorums() {
	if wd.err != nil || int(wd.start-base) == len(wd.committed) {
		return
	}
	if wd.cfg.Spares > 0 {
		wd.checkElectable()
		return
	}
	k := len(wd.nodes)
	held := 0 // the nodes that were found to hold it: most quorums elect the same few
	for set := range 1 << k {
		var best *model
		var bestTerm wal.Term
		count, bit := 0, 0
		for i, n := range wd.nodes {
			if set>>i&1 == 0 {
				continue
			}
			if n.wiped {
				count = -k
				break
			}
			count++
			m := n.disk.view()
			t := lastTerm(cut(m.state.History, max(m.flushed, wd.start)))
			if best == nil || t > bestTerm || t == bestTerm && m.flushed > best.flushed {
				best, bestTerm, bit = m, t, 1<<i
			}
		}
		if count != k/2+1 || held&bit != 0 {
			continue
		}
		if wd.broken(durability, int(best.flushed-base) < len(wd.committed) || !best.holds(wd.committed)) {
			wd.fail("invariant 1: a quorum would elect WAL up to %s of term %d; acknowledged was %s",
				best.flushed, bestTerm, base+wal.LSN(len(wd.committed)))
			return
		}
		held |= bit
	}
}

func cut(h pushwal.TermHistory, l wal.LSN) pushwal.TermHistory {
	for len(h) > 0 && h[len(h)-1].LSN > l {
		h = h[:len(h)-1]
	}
	return h
}
