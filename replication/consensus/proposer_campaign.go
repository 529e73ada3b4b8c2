package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// maybeCampaign begins the campaign once a quorum is connected.
func (p *Proposer) maybeCampaign(e *ProposerEffects) {
	connected := func(m pushwal.Member) bool {
		return p.counts(m) && slices.ContainsFunc(p.peers, func(o peer) bool { return o.connected && o.node.id == m.ID })
	}
	if p.el.quorum(connected) {
		p.campaign(e, p.c.MinTerm+1)
	}
}

// campaign asks everyone for a vote in a term.
func (p *Proposer) campaign(e *ProposerEffects, t wal.Term) {
	p.phase, p.term = campaigning, t
	for _, n := range p.nodes {
		n.vote, n.asked, n.refused, n.ownVote = nil, false, false, false
	}
	for i := range p.peers {
		p.peers[i].position = nil
		p.ask(e, i)
	}
}

// ask sends a VoteRequest unless one is under way. Nodes that do not vote are
// asked once the election is over: their answer tells where they stand.
func (p *Proposer) ask(e *ProposerEffects, i int) {
	o := &p.peers[i]
	if !o.connected || o.asked != 0 || (p.phase != leading && !p.voter(o.node)) {
		return
	}
	o.node.ownVote = o.node.ownVote || o.node.asked
	o.asked, o.node.asked = p.term, true
	e.Send = append(e.Send, ToPeer{i, &pushwal.VoteRequest{Generation: p.conf.Generation, Term: p.term}})
}

// voted takes the answer to a VoteRequest: a vote, a refusal, or, once elected,
// just the position of a node.
func (p *Proposer) voted(e *ProposerEffects, i int, r *pushwal.VoteResponse) error {
	o := &p.peers[i]
	if !o.connected || o.asked == 0 {
		return errf(ErrProtocol, "peer %d sent a vote without being asked", i)
	}
	n, asked := o.node, o.asked
	o.asked = 0
	if r.Term > p.term {
		if !p.voter(n) {
			return p.higherTerm(n.id, r.Term)
		}
		e.Fatal = p.higherTerm(n.id, r.Term)
		return nil
	}
	if asked < p.term { // a late answer to an earlier campaign
		p.ask(e, i)
		return nil
	}
	if err := p.checkVote(n, r); err != nil {
		return err
	}
	if p.phase == leading && r.FlushLSN < n.flush {
		return n.setBack(r.FlushLSN)
	}
	n.asked = false
	n.left = r.Proposed
	o.position = &ballot{
		peer: i, node: n.id, data: n.incarnation, flush: r.FlushLSN, truncate: r.TruncateLSN,
		history: cutHistory(r.History, r.FlushLSN), tli: known(r.TLIHistory),
		proposed: r.Proposed, proposedTerm: r.ProposedTerm,
	}
	if r.VoteGiven {
		n.vote = o.position
	}
	switch {
	case p.phase != leading && lastTerm(o.position.history) == p.term:
		e.Fatal = errf(ErrRival, "node %d holds WAL of another proposer of term %d", n.id, p.term).node(n.id).term(p.term)
	case p.phase == campaigning:
		n.refused = !r.VoteGiven && n.vote == nil
		p.evaluate(e)
	case p.phase == leading:
		return p.follow(e, i)
	}
	return nil
}

// checkVote refuses answers that an acceptor that follows the rules cannot give.
func (p *Proposer) checkVote(n *node, r *pushwal.VoteResponse) error {
	bad := func(cause error, format string, args ...any) error {
		return errf(cause, format, args...).node(n.id)
	}
	switch {
	case r.Generation != p.conf.Generation:
		return bad(ErrConfiguration, "node %d votes in membership generation %d instead of %d", n.id, r.Generation, p.conf.Generation)
	case !r.History.Valid():
		return bad(ErrHistory, "node %d sent an invalid term history", n.id)
	case r.TLIHistory.Last != 0 && !r.TLIHistory.Valid():
		return bad(ErrTimeline, "node %d sent an invalid PostgreSQL history", n.id)
	case r.VoteGiven && r.Term != p.term:
		return bad(ErrProtocol, "node %d gives its vote for term %d in term %d", n.id, p.term, r.Term)
	case !r.VoteGiven && r.Term < p.term && p.voter(n):
		return bad(ErrProtocol, "node %d refuses its vote for term %d though it is in term %d", n.id, p.term, r.Term)
	}
	if last := lastTerm(r.History); last > r.Term || (last == p.term && r.VoteGiven) {
		return bad(ErrProtocol, "node %d has WAL of term %d before anyone can have written it", n.id, last)
	}
	return nil
}

// setBack takes back what a node had acknowledged in this term: it came back with
// less, whether its disk lost it or somebody put an older copy there. It counts
// again for what it acknowledges from now on.
func (n *node) setBack(to wal.LSN) *Error {
	err := errf(ErrHistory, "node %d holds WAL up to %s only, but had acknowledged %s in this term: its disk lost WAL, or was replaced by an older copy",
		n.id, to, n.flush).node(n.id).at(to)
	n.flush, n.durable, n.persisted = 0, 0, 0
	return err
}

// evaluate counts the votes.
func (p *Proposer) evaluate(e *ProposerEffects) {
	ballots := p.ballots()
	c := choose(p.el, ballots, p.c.own())
	beyond := func(m pushwal.Member) bool {
		i := slices.IndexFunc(ballots, func(b ballot) bool { return by(m)(&b) })
		return i >= 0 && !c.counted[i]
	}
	refused := func(m pushwal.Member) bool { return p.nodes[m.ID] != nil && p.nodes[m.ID].refused }
	switch {
	case c.elected:
		p.prove(e, ballots, c)
	case !p.el.reachable(beyond):
		e.Fatal = c.beyond
	case !p.el.reachable(func(m pushwal.Member) bool { return beyond(m) || refused(m) }):
		e.Fatal = p.rival()
	}
}

// ballots lists the votes given in this term, in the order of the peers.
func (p *Proposer) ballots() (out []ballot) {
	for i := range p.peers {
		if n := p.peers[i].node; n != nil && n.vote != nil && p.voter(n) {
			b := *n.vote
			b.peer = i
			out = append(out, b)
		}
	}
	return out
}

// rival returns an error about a node that gave its vote to another proposer,
// who may be writing already and is not ours to depose; nil when no vote is
// known to be lost that way. A node that was asked before, on a connection that
// broke, most likely gave its vote to us, and only the answer was lost.
func (p *Proposer) rival() *Error {
	for i := range p.peers {
		if n := p.peers[i].node; n != nil && n.refused && !n.ownVote {
			return errf(ErrRival, "node %d gave its vote of term %d to another proposer", n.id, p.term).node(n.id).term(p.term)
		}
	}
	return nil
}

// ownVoteLost says whether a vote was given to us whose answer never came.
func (p *Proposer) ownVoteLost() bool {
	return slices.ContainsFunc(p.peers, func(o peer) bool { return o.node != nil && o.node.refused && o.node.ownVote })
}

// prove asks for the proof, or does without in a headless run.
func (p *Proposer) prove(e *ProposerEffects, ballots []ballot, c choice) {
	p.phase, p.donor = proving, *c.donor
	for i, b := range ballots {
		if c.counted[i] {
			p.votes = append(p.votes, b)
		}
	}
	if p.c.Headless {
		p.elect(e)
		return
	}
	e.Prove = proofRequest(p.term, ballots, c)
}

func proofRequest(t wal.Term, ballots []ballot, c choice) *ProofRequest {
	r := &ProofRequest{
		Term: t, Donor: c.donor.peer, DonorNode: c.donor.node, Upto: c.donor.flush,
		History: c.donor.history, TLIHistory: c.donor.tli,
	}
	for i, b := range ballots {
		r.Votes = append(r.Votes, VotePosition{
			Peer: b.peer, Node: b.node, LastLogTerm: lastTerm(b.history), FlushLSN: b.flush, Counted: c.counted[i],
		})
	}
	return r
}

func (p *Proposer) proved(e *ProposerEffects, ev *Proved) {
	if p.phase != proving || ev.Term != p.term {
		return // of an earlier request
	}
	if ev.Err != nil {
		e.Fatal = errf(ErrProof, "this server's WAL does not continue node %d's up to %s", p.donor.node, p.donor.flush).node(p.donor.node).at(p.donor.flush)
		e.Fatal.Err = ev.Err
		return
	}
	p.elect(e)
}

// tick ends a campaign that votes which may still come are unlikely to save:
// with a higher term when the votes that lack are most likely our own, else, after
// some patience, for good.
func (p *Proposer) tick(e *ProposerEffects) {
	if p.phase == collecting && p.outdated {
		// A data directory that was replaced, if all others of its membership were
		// replaced as well; or one that was founded anew. Another look tells.
		if p.patience--; p.patience <= 0 {
			e.Fatal = errf(ErrConfiguration, "the membership has changed since this proposer looked")
		}
	}
	if p.phase != campaigning {
		return
	}
	end := p.rival()
	if end == nil && p.ownVoteLost() {
		p.campaign(e, p.term+1)
		return
	}
	if c := choose(p.el, p.ballots(), p.c.own()); c.quorum && c.beyond != nil {
		end = c.beyond
	}
	if end == nil {
		return
	}
	if p.patience--; p.patience <= 0 {
		e.Fatal = end
	}
}

func (p *Proposer) lookAgain(n pushwal.NodeID, t wal.Term) *Error {
	return errf(ErrHigherTerm, "node %d is in term %d, which nobody was in when this proposer looked", n, t).node(n).term(t)
}

func (p *Proposer) higherTerm(n pushwal.NodeID, t wal.Term) *Error {
	return errf(ErrHigherTerm, "node %d is in term %d, this proposer in %d", n, t, p.term).node(n).term(t)
}
