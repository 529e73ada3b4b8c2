package sim

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// checkVote judges a vote that leaves a node: R1, R4, C5.
func (wd *World) checkVote(n *node, v *pushwal.VoteResponse) {
	m, broken := n.disk.view(), wd.cfg.Break
	if k := len(v.History); wd.broken(r4, k > 0 && v.History[k-1].LSN > v.FlushLSN) {
		wd.fail("R4: node %d claims term %d at %s, its WAL ends at %s", n.id, v.History[k-1].Term, v.History[k-1].LSN, v.FlushLSN)
	}
	if !v.VoteGiven || broken.VoteNotSaved {
		return
	}
	if wd.broken(r1, v.Term <= n.votedIn || v.Term < n.promised || m.state.Term < v.Term) {
		wd.fail("R1: node %d votes for term %d, it voted in %d, promised %d, and persisted %d", n.id, v.Term, n.votedIn, n.promised, m.state.Term)
	}
	if s := m.state; wd.broken(r1, !broken.JoiningCounts && (s.Joining || !named(s.Configuration, n))) {
		wd.fail("R1: node %d votes in term %d though it is joining", n.id, v.Term)
	}
	if wd.broken(c5, !broken.AckBeforeSync && (v.FlushLSN != max(m.flushed, m.start) || m.recordEnd() > v.FlushLSN)) {
		wd.fail("C5: node %d votes in term %d with WAL up to %s, durable is %s", n.id, v.Term, v.FlushLSN, m.flushed)
	}
	n.votedIn = v.Term
}

// checkAck: what a node acknowledges is there (C5). Where one begins that came later it
// holds with the bytes in front of it alone, which the others have.
func (wd *World) checkAck(n *node, r *pushwal.AppendResponse) {
	m := n.disk.view()
	if wd.broken(c5, !wd.cfg.Break.AckBeforeSync && r.FlushLSN > max(m.flushed, wd.start)) {
		wd.fail("C5: node %d acknowledges %s, durable is %s", n.id, r.FlushLSN, m.flushed)
	}
}

// checkStep judges what a node is about to do because of a message that it took:
// R5 to R7, R9, C7.
func (wd *World) checkStep(n *node, m pushwal.ProposerMessage, e consensus.Effects) {
	at := n.disk.view().state.Configuration.Generation
	switch m := m.(type) {
	case *pushwal.VoteRequest:
		wd.checkGeneration(n, m.Generation, at)
	case *pushwal.ProposerElected:
		if e.Truncate == nil {
			return
		}
		wd.checkGeneration(n, m.Generation, at)
		wd.checkTerm(n, m.Term)
	case *pushwal.AppendRequest:
		if e.Append == nil {
			return
		}
		wd.checkGeneration(n, m.Generation, at)
		wd.checkTerm(n, m.Term)
		if wd.broken(r5, n.cutIn != m.Term) {
			wd.fail("R5: node %d writes WAL of term %d, in this life it was cut for term %d", n.id, m.Term, n.cutIn)
		}
		if end := n.disk.view().end(); wd.broken(r6, e.Append.Begin != end) {
			wd.fail("R6: node %d writes at %s, its WAL ends at %s", n.id, e.Append.Begin, end)
		}
	}
}

func (wd *World) checkGeneration(n *node, said, at pushwal.Generation) {
	if wd.broken(r9, said != at) {
		wd.fail("R9: node %d is in generation %d and acts on a message of %d", n.id, at, said)
	}
}

func (wd *World) checkTerm(n *node, t wal.Term) {
	if wd.broken(r7, t < n.promised && !wd.cfg.Break.VoteNotSaved) {
		wd.fail("R7: node %d writes WAL of term %d, it has promised term %d", n.id, t, n.promised)
	}
}

// ballot is a vote as its proposer got it.
type ballot struct {
	*pushwal.VoteResponse
	incarnation pushwal.Incarnation
}

// checkBallots: the votes that elected a proposer are those of a quorum of its
// generation (R10, R11), and its term starts where the best of them ends (R2).
func (wd *World) checkBallots(w *writer, e *consensus.Election) {
	var best *ballot
	c, ballots := w.p.Configuration(), w.counted
	if w.server == nil {
		ballots = w.ballots
	}
	counted := map[pushwal.Member]bool{}
	for _, n := range wd.nodes {
		b := ballots[n.id]
		if b.VoteResponse == nil || b.Term != e.Term || b.Generation != c.Generation || w.beyond(&b) {
			continue
		}
		counted[pushwal.Member{ID: n.id, Incarnation: b.incarnation}] = true
		if best == nil || best.less(&b) {
			best = &b
		}
	}
	for _, set := range [][]pushwal.Member{c.Members, c.NewMembers} {
		k := 0
		for _, m := range set {
			k += boolInt(counted[pushwal.Member{ID: m.ID, Incarnation: m.Incarnation}])
		}
		if wd.broken(r10, !wd.cfg.Break.QuorumOfOne && len(set) > 0 && 2*k <= len(set)) {
			wd.fail("R10: the proposer of term %d was elected by %d of %d members", e.Term, k, len(set))
		}
	}
	if wd.broken(r2, best == nil || best.FlushLSN != e.Start) {
		wd.fail("R2: term %d starts at %s, which is not the best vote", e.Term, e.Start)
	}
}

func (b *ballot) less(o *ballot) bool {
	t, u := lastTerm(cut(b.History, b.FlushLSN)), lastTerm(cut(o.History, o.FlushLSN))
	return t < u || t == u && b.FlushLSN < o.FlushLSN
}

// beyond says whether a vote does not count because its giver has WAL behind the point
// where the server's PostgreSQL history parts from its own.
func (w *writer) beyond(b *ballot) bool {
	return w.server != nil && (contradicts(b.TLIHistory, w.server.tli) || consensus.AgreeUpto(b.TLIHistory, w.server.tli) < b.FlushLSN)
}

// checkFinal is R12 for a configuration that came into force behind a joint one: a
// majority of its members knows the joint one, and a majority, which may be another,
// holds what was committed when that came into force. Who lost its data directory since
// is not counted against it.
func (wd *World) checkFinal(c pushwal.Configuration) {
	joint, ok := wd.configs[c.Generation-1]
	if !ok || c.Joint() || !joint.Joint() {
		return
	}
	unaware, lacking := 0, 0
	for _, m := range c.Members {
		n := wd.nodes[m.ID-1]
		if n.disk == nil || n.disk.view().state.Incarnation != m.Incarnation {
			continue
		}
		v := n.disk.view()
		unaware += boolInt(v.state.Configuration.Generation < joint.Generation)
		lacking += boolInt(max(v.flushed, wd.start) < wd.committedAt[joint.Generation])
	}
	if minority := (len(c.Members) - 1) / 2; wd.broken(r12, unaware > minority || lacking > minority) {
		wd.fail("R12: generation %d is in force; of its %d members %d do not know generation %d and %d lack what was committed then",
			c.Generation, len(c.Members), unaware, joint.Generation, lacking)
	}
}

// checkStarts: terms rise in a history, and each starts where it was won (S3, R8).
func (wd *World) checkStarts(n *node, h pushwal.TermHistory) {
	if wd.broken(s3, !h.Valid()) {
		wd.fail("S3: node %d has the history %v", n.id, h)
	}
	i := slices.IndexFunc(h, func(e pushwal.TermLSN) bool {
		start, ok := wd.starts[e.Term]
		return e.Term > 0 && (!ok || start != e.LSN)
	})
	if wd.broken(r8, i >= 0) {
		wd.fail("R8: node %d says that term %d starts at %s, it was won at %s", n.id, h[i].Term, h[i].LSN, wd.starts[h[i].Term])
	}
}
