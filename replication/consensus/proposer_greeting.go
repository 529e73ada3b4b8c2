package consensus

import (
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// greeted takes the first message of a connection.
func (p *Proposer) greeted(e *ProposerEffects, i int, g *pushwal.AcceptorGreeting) error {
	p.disconnect(i)
	if err := p.checkGreeting(i, g); err != nil {
		return err
	}
	p.peers[i].met = g.NodeID
	if err := p.learn(e, g); err != nil || e.Fatal != nil {
		return err
	}
	n := p.bind(i, g)
	if !legacy(p.conf) && len(membersOf(p.conf, n.id)) == 0 && !p.wanted(n.id) {
		return errf(ErrNotMember, "node %d is no member in generation %d", n.id, p.conf.Generation).node(n.id)
	}
	if p.voter(n) {
		switch {
		case p.phase == collecting && g.Term > p.c.MinTerm:
			// Somebody campaigned since the look, and may be writing: this proposer's
			// proof is stale, and its votes would depose that one. The same holds for a
			// headless run, which was started because nobody wrote.
			e.Fatal = p.lookAgain(n.id, g.Term)
			return nil
		case p.phase != collecting && g.Term > p.term:
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
	case joining, g.Options != nil && lostData(p.conf, g.NodeID, g.Options.Incarnation):
		p.outdated = !joining
		return errf(ErrConfiguration, "node %d is joining, or was founded anew, with membership generation %d, which no member has", g.NodeID, g.Config.Generation).node(g.NodeID)
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
	joining, revision, begins := false, uint32(0), wal.LSN(0)
	if g.Options != nil {
		inc, joining, revision, begins = g.Options.Incarnation, g.Options.Joining, g.Options.Walhaven, g.Options.Start
	}
	n := p.nodes[g.NodeID]
	switch {
	case n == nil:
		n = &node{id: g.NodeID, incarnation: inc, lost: joining}
		p.nodes[g.NodeID] = n
	case n.incarnation != inc || joining:
		// Whatever it promised or acknowledged, that data directory is gone.
		*n = node{id: g.NodeID, incarnation: inc, lost: true}
	case n.lost && names(p.conf, n.id, inc):
		n.lost = false // the members have accepted this data directory
	}
	n.knows = g.Config.Generation
	p.peers[i] = peer{node: n, met: n.id, connected: true, generation: g.Config.Generation, options: g.Options != nil, revision: revision, begins: begins}
	p.count()
	return n
}
