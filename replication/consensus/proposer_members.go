package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// A membership changes within a term, in two steps, each a consensus of its own
// with the term as ballot: the proposer asks the members in force to accept the
// next generation, and once a majority of each set has, it is chosen, and in
// force. A later proposer finds in its votes what may have been chosen, and
// proposes that again before anything else. So no two configurations of one
// generation are ever in force.
//
//	members in force -> joint: both sets -> the new members
//
// The joint one may be left when both sets hold everything that was committed by
// the first alone (R12): each acceptance is by a node that knows the joint
// generation and is in this term, which is (a) and (c) for both sets; and what was
// committed when the joint one came into force is by then held by a majority of each,
// which is (b): nobody but this proposer commits in its term.
//
// Which set that is, is open until then: a change is taken back by leaving the joint
// one for the old members, under the same conditions and by the same two majorities.
// So whoever goes on and whoever goes back meet, and the term decides between them.

// want takes an operator's wish: for other members, for those in force, which takes
// back one that nothing has come of yet, or, in a joint configuration, for one of its
// sets. What is proposed already, or may have been chosen, comes first; the wish is
// void then.
func (p *Proposer) want(e *ProposerEffects, c pushwal.Configuration) {
	if p.phase != leading || c.Generation != p.conf.Generation || p.proposal.Generation != 0 || p.pending != nil {
		return
	}
	switch {
	case p.conf.Joint() && sameMembers(c.Members, p.conf.Members):
		p.back = c.Generation
	case p.conf.Joint():
		return
	case sameMembers(c.Members, p.conf.Members):
		if p.target != nil {
			p.target, e.Members = nil, &c
		}
	default:
		next := p.joint(c.Members)
		if checkSuccessor(p.conf, next) != nil || p.target != nil && sameMembers(p.target.Members, c.Members) {
			return
		}
		p.target, p.caught = &c, max(p.commit, p.start)
		e.Members = &next
	}
}

func (p *Proposer) joint(members []pushwal.Member) pushwal.Configuration {
	return pushwal.Configuration{Generation: p.conf.Generation + 1, Members: p.conf.Members, NewMembers: members}
}

// wanted says whether a node that is no member is to be filled to become one.
func (p *Proposer) wanted(id pushwal.NodeID) bool {
	for _, c := range []*pushwal.Configuration{p.target, p.pending, &p.proposal} {
		if c != nil && len(membersOf(*c, id)) > 0 {
			return true
		}
	}
	return false
}

// coming returns the position that all have reached who are to become members, or may
// by what was proposed in earlier terms. What they lack must not be removed meanwhile:
// they would be members then, of whom everybody takes for granted that they hold it,
// and nobody could give it to them.
func (p *Proposer) coming() wal.LSN {
	low := everywhere
	hold := func(c pushwal.Configuration) {
		for _, m := range slices.Concat(c.Members, c.NewMembers) {
			switch n := p.nodes[m.ID]; {
			case names(p.conf, m.ID, m.Incarnation):
			case n == nil || !means(m, n.incarnation):
				low = 0
			default:
				low = min(low, n.flush)
			}
		}
	}
	for _, c := range []*pushwal.Configuration{p.target, p.pending, &p.proposal} {
		if c != nil {
			hold(*c)
		}
	}
	for _, n := range p.nodes {
		if n.left.Generation == p.conf.Generation+1 {
			hold(n.left)
		}
	}
	return low
}

// inherit takes over what earlier proposers left: of the configurations that the
// voters have accepted, the one of the latest term may have been chosen.
func (p *Proposer) inherit() {
	var term wal.Term
	for _, b := range p.ballots() {
		if b.proposed.Generation != p.conf.Generation+1 || p.pending != nil && b.proposedTerm <= term {
			continue
		}
		c := b.proposed
		p.pending, term = &c, b.proposedTerm
	}
	p.reach, p.caught = p.start, p.start
}

// reconfigure goes on with a change as far as it can.
func (p *Proposer) reconfigure(e *ProposerEffects) {
	if legacy(p.conf) || !p.changing() {
		return
	}
	if p.proposal.Generation == 0 {
		next, ready := p.next()
		if !ready {
			return
		}
		p.proposal = next
		for i := range p.peers {
			p.offer(e, i)
		}
	}
	if p.el.quorum(func(m pushwal.Member) bool { return p.counts(m) && p.nodes[m.ID].accepted }) {
		p.adopt(e)
	}
}

// changing says whether a change is wanted or under way.
func (p *Proposer) changing() bool {
	return p.target != nil || p.pending != nil || p.proposal.Generation != 0 || p.conf.Joint()
}

// next is the configuration to propose, and whether it is time to.
func (p *Proposer) next() (next pushwal.Configuration, ready bool) {
	switch {
	case p.pending != nil:
		next = *p.pending
	case p.conf.Joint():
		next = pushwal.Configuration{Generation: p.conf.Generation + 1, Members: p.conf.NewMembers}
		if p.back == p.conf.Generation {
			next.Members = p.conf.Members
		}
	case p.target != nil:
		next = p.joint(p.target.Members)
	default:
		return next, false
	}
	if !next.Joint() {
		return next, p.reached >= p.reach
	}
	return next, p.filled(next)
}

// filled says whether the new set could commit at once: a majority of it streams
// and is not behind, and so does whoever is new in it. What was proposed before may
// be in force, and is not held up by a new node that never comes.
func (p *Proposer) filled(next pushwal.Configuration) bool {
	is := func(m pushwal.Member) bool {
		n := p.nodes[m.ID]
		return n != nil && means(m, n.incarnation) && n.flush >= p.caught &&
			slices.ContainsFunc(p.peers, func(o peer) bool { return o.node == n && o.streaming })
	}
	for _, m := range next.NewMembers {
		if p.pending == nil && !names(p.conf, m.ID, m.Incarnation) && !is(m) {
			return false
		}
	}
	return electorate{setOf(next.NewMembers)}.quorum(is)
}

// offer asks a peer to accept the proposal, if it is a member that follows.
func (p *Proposer) offer(e *ProposerEffects, i int) {
	o := &p.peers[i]
	if p.proposal.Generation == 0 || !o.connected || !o.streaming || !p.voter(o.node) || o.revision < pushwal.RevisionMembership {
		return
	}
	e.Send = append(e.Send, ToPeer{i, &pushwal.ConfigurationRequest{Generation: p.conf.Generation, Term: p.term, Config: p.proposal}})
}

// configured takes the answer to an offer.
func (p *Proposer) configured(e *ProposerEffects, i int, r *pushwal.ConfigurationResponse) error {
	o := &p.peers[i]
	if !o.connected || !o.streaming {
		return errf(ErrProtocol, "peer %d answers a membership that it was not asked for", i)
	}
	n := o.node
	switch {
	case r.Generation != p.conf.Generation:
		return errf(ErrConfiguration, "node %d is in membership generation %d, the proposal was made in %d", n.id, r.Generation, p.conf.Generation).node(n.id)
	case r.Term > p.term && p.voter(n):
		e.Fatal = p.higherTerm(n.id, r.Term)
	case r.Term > p.term:
		return p.higherTerm(n.id, r.Term)
	case r.Term == p.term && r.AcceptedTerm == p.term && r.Accepted == p.proposal.Generation && r.Accepted != 0:
		n.accepted = true
	}
	return nil
}

// adopt puts the proposal in force: it was chosen. Every connection is made anew,
// and its greeting tells the acceptor.
func (p *Proposer) adopt(e *ProposerEffects) {
	p.conf = p.proposal
	p.proposal, p.pending, p.target = pushwal.Configuration{}, nil, nil
	p.reach = max(p.commit, p.start)
	for _, n := range p.nodes {
		n.accepted = false
	}
	for i := range p.peers {
		if o := &p.peers[i]; o.connected {
			e.Drop = append(e.Drop, PeerError{i, errf(ErrConfiguration, "membership generation %d is in force", p.conf.Generation)})
			p.disconnect(i)
		}
	}
	p.count()
	conf := p.conf
	e.Members = &conf
	p.advance(e)
}
