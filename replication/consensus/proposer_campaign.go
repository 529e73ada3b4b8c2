package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// greeted takes the first message of a connection.
func (p *Proposer) greeted(e *ProposerEffects, i int, g *pushwal.AcceptorGreeting) error {
	p.disconnect(i)
	if err := p.checkGreeting(i, g); err != nil {
		return err
	}
	if err := p.learn(e, g); err != nil || e.Fatal != nil {
		return err
	}
	n := p.bind(i, g)
	if !legacy(p.conf) && len(membersOf(p.conf, n.id)) == 0 {
		return errf(ErrNotMember, "node %d is no member in generation %d", n.id, p.conf.Generation).node(n.id)
	}
	if p.voter(n) {
		switch {
		case p.phase == collecting:
			p.heard = max(p.heard, g.Term)
		case g.Term > p.term:
			e.Fatal = p.higherTerm(n.id, g.Term)
			return nil
		}
	}
	if p.phase == collecting {
		p.maybeCampaign(e)
	} else {
		p.ask(e, i)
	}
	return nil
}

func (p *Proposer) checkGreeting(i int, g *pushwal.AcceptorGreeting) error {
	if g.NodeID == 0 {
		return errf(ErrProtocol, "peer %d greets without a node ID", i)
	}
	if g.Term >= maxTerm {
		return errf(ErrProtocol, "node %d greets with term %d, which is out of range", g.NodeID, g.Term).node(g.NodeID)
	}
	if g.Options == nil && (known(p.c.TLIHistory).Last > 1 || p.c.SegmentSize != wal.DefaultSegmentSize) {
		return errf(ErrNegotiation, "node %d took none of walhaven's options, which timeline %d and segments of %s need",
			g.NodeID, known(p.c.TLIHistory).Last, p.c.SegmentSize).node(g.NodeID)
	}
	for j := range p.peers {
		if o := &p.peers[j]; j != i && o.connected && o.node.id == g.NodeID {
			return errf(ErrConfiguration, "node %d is already connected as peer %d", g.NodeID, j).node(g.NodeID)
		}
	}
	return nil
}

// learn takes the newest membership from greetings. A campaign is for one
// membership; a newer one ends it (R11). What a joining node was told does not
// count.
func (p *Proposer) learn(e *ProposerEffects, g *pushwal.AcceptorGreeting) error {
	joining := g.Options != nil && g.Options.Joining
	switch {
	case g.Config.Generation < p.conf.Generation:
		return errf(ErrConfiguration, "node %d is in membership generation %d, the others are in %d", g.NodeID, g.Config.Generation, p.conf.Generation).node(g.NodeID)
	case g.Config.Generation == p.conf.Generation:
		if !sameConfiguration(g.Config, p.conf) {
			return errf(ErrConfiguration, "node %d knows other members in generation %d", g.NodeID, p.conf.Generation).node(g.NodeID)
		}
		if !joining {
			p.conf = withIncarnations(p.conf, g.Config)
		}
		return nil
	case joining:
		return errf(ErrConfiguration, "node %d is joining with membership generation %d, which no member has", g.NodeID, g.Config.Generation).node(g.NodeID)
	}
	if err := g.Config.Validate(); err != nil {
		bad := errf(ErrConfiguration, "node %d sent an invalid membership", g.NodeID).node(g.NodeID)
		bad.Err = err
		return bad
	}
	if p.phase != collecting {
		e.Fatal = errf(ErrConfiguration, "node %d is in membership generation %d, the campaign was for %d", g.NodeID, g.Config.Generation, p.conf.Generation).node(g.NodeID)
		return nil
	}
	p.conf = g.Config
	for i := range p.peers {
		if o := &p.peers[i]; o.connected {
			e.Drop = append(e.Drop, PeerError{i, errf(ErrConfiguration, "node %d is in membership generation %d, node %d in %d",
				o.node.id, o.generation, g.NodeID, g.Config.Generation).node(o.node.id)})
			p.disconnect(i)
		}
	}
	return nil
}

// bind connects a peer with the node that answered there.
func (p *Proposer) bind(i int, g *pushwal.AcceptorGreeting) *node {
	var inc pushwal.Incarnation
	joining := false
	if g.Options != nil {
		inc, joining = g.Options.Incarnation, g.Options.Joining
	}
	n := p.nodes[g.NodeID]
	switch {
	case n == nil:
		n = &node{id: g.NodeID, incarnation: inc, lost: joining}
		p.nodes[g.NodeID] = n
	case n.incarnation != inc || joining:
		// Whatever it promised or acknowledged, that data directory is gone.
		*n = node{id: g.NodeID, incarnation: inc, lost: true}
	}
	p.peers[i] = peer{node: n, connected: true, generation: g.Config.Generation, options: g.Options != nil}
	p.count()
	return n
}

// maybeCampaign begins the campaign once a quorum is connected.
func (p *Proposer) maybeCampaign(e *ProposerEffects) {
	connected := func(id pushwal.NodeID) bool {
		return p.counts(id) && slices.ContainsFunc(p.peers, func(o peer) bool { return o.connected && o.node.id == id })
	}
	if p.el.quorum(connected) {
		p.campaign(e, p.heard+1)
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
	n.asked = false
	o.position = &ballot{
		peer: i, node: n.id, flush: r.FlushLSN, truncate: r.TruncateLSN,
		history: cutHistory(r.History, r.FlushLSN), tli: known(r.TLIHistory),
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

// evaluate counts the votes.
func (p *Proposer) evaluate(e *ProposerEffects) {
	ballots := p.ballots()
	c := choose(p.el, ballots, p.c.own())
	beyond := func(id pushwal.NodeID) bool {
		i := slices.IndexFunc(ballots, func(b ballot) bool { return b.node == id })
		return i >= 0 && !c.counted[i]
	}
	refused := func(id pushwal.NodeID) bool { return p.nodes[id] != nil && p.nodes[id].refused }
	switch {
	case c.elected:
		p.prove(e, ballots, c)
	case !p.el.reachable(beyond):
		e.Fatal = c.beyond
	case !p.el.reachable(func(id pushwal.NodeID) bool { return beyond(id) || refused(id) }):
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

func (p *Proposer) higherTerm(n pushwal.NodeID, t wal.Term) *Error {
	return errf(ErrHigherTerm, "node %d is in term %d, this proposer in %d", n, t, p.term).node(n).term(t)
}
