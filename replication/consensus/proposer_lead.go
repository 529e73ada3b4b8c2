package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// elect takes office: the term starts where the best voter's WAL ends, and the
// history is that voter's with this term behind it (R2).
func (p *Proposer) elect(e *ProposerEffects) {
	p.phase = leading
	p.start = p.donor.flush
	p.history = succeed(p.donor.history, pushwal.TermLSN{Term: p.term, LSN: p.start})
	p.tli = known(p.c.TLIHistory)
	if p.c.Headless {
		p.tli = p.donor.tli
	}
	p.available = max(p.available, p.start)
	for _, b := range p.votes {
		p.truncate = max(p.truncate, min(b.truncate, p.start))
	}
	p.inherit()
	e.Elected = &Election{Term: p.term, Start: p.start, History: p.history, TLIHistory: p.tli}
	e.Truncate = p.truncate
	for i := range p.peers {
		switch o := &p.peers[i]; {
		case !o.connected:
		case o.position == nil:
			p.ask(e, i)
		default:
			if err := p.follow(e, i); err != nil {
				p.disconnect(i)
				e.Drop = append(e.Drop, PeerError{i, err})
			}
		}
	}
}

// follow makes a peer a follower: it learns where its WAL and this proposer's
// part, and its stream begins there.
func (p *Proposer) follow(e *ProposerEffects, i int) error {
	o := &p.peers[i]
	if o.streaming {
		return errf(ErrProtocol, "node %d voted while it was streaming", o.node.id).node(o.node.id)
	}
	if err := checkTerms(o.position.history, p.history); err != nil {
		return err
	}
	if err := checkTimelines(o.position.tli, p.tli); err != nil {
		return err
	}
	at := commonPoint(p.history, o.position.history, o.position.flush)
	s := StreamStart{Peer: i, At: at}
	origin := p.history[0].LSN
	if o.begins != 0 {
		origin = o.begins
	}
	if at == origin && o.position.flush <= origin && o.options {
		s.At = p.c.SegmentSize.SegmentStart(at)
		s.Prefix = s.At < at
	}
	o.streaming = true
	e.Send = append(e.Send, ToPeer{i, &pushwal.ProposerElected{
		Generation: p.conf.Generation, Term: p.term, StartStreamingAt: s.At, History: p.history, TLIHistory: p.tli,
	}})
	e.Stream = append(e.Stream, s)
	p.offer(e, i)
	return nil
}

// appended takes an acknowledgement. Only what a member says counts, in this
// term, on a connection on which it was told to cut its WAL (R3).
func (p *Proposer) appended(e *ProposerEffects, i int, r *pushwal.AppendResponse) error {
	o := &p.peers[i]
	if !o.connected || !o.streaming {
		return errf(ErrProtocol, "peer %d acknowledges WAL that it was not sent", i)
	}
	n := o.node
	counts := p.voter(n)
	switch {
	case r.Generation != p.conf.Generation:
		err := errf(ErrConfiguration, "node %d is in membership generation %d, the election was in %d", n.id, r.Generation, p.conf.Generation).node(n.id)
		if r.Generation > p.conf.Generation && counts {
			e.Fatal = err
			return nil
		}
		return err
	case r.Term > p.term:
		if counts {
			e.Fatal = p.higherTerm(n.id, r.Term)
			return nil
		}
		return p.higherTerm(n.id, r.Term)
	case r.Term < p.term:
		return errf(ErrProtocol, "node %d acknowledges in term %d, it was told of %d", n.id, r.Term, p.term).node(n.id)
	case r.FlushLSN > p.plausible():
		return errf(ErrProtocol, "node %d acknowledges %s, the WAL ends at %s", n.id, r.FlushLSN, p.available).node(n.id).at(r.FlushLSN)
	}
	if r.FlushLSN > n.flush {
		o.starves = false
	}
	n.flush = max(n.flush, p.countable(r.FlushLSN))
	n.durable = max(n.flush, min(r.DurableLSN, p.available))
	n.persisted = max(n.persisted, r.CommitLSN)
	p.advance(e)
	return nil
}

// countable is how much of what a node acknowledges counts. The end of a record of
// XLOG_SWITCH is the next segment, whose padding may not have come yet: it counts
// as far as it has. The bytes that align any other record are few, and a commit
// position is the end of one (C2): the acknowledgement of the last of them counts.
func (p *Proposer) countable(flush wal.LSN) wal.LSN {
	const alignment = 8
	if p.available < flush && flush-p.available < alignment {
		return 0
	}
	return min(flush, p.available)
}

// plausible is the furthest position that an acceptor can reach with the WAL
// that there is.
func (p *Proposer) plausible() wal.LSN {
	seg := wal.LSN(p.c.SegmentSize)
	if seg == 0 || p.available%seg == 0 {
		return p.available
	}
	return p.c.SegmentSize.SegmentStart(p.available) + seg
}

// advance recomputes what is committed and what everyone has.
func (p *Proposer) advance(e *ProposerEffects) {
	// WAL of older terms is not committed on its own.
	own := func(m pushwal.Member) bool { return p.counts(m) && p.nodes[m.ID].flush >= p.start }
	p.reached = p.el.reached(func(m pushwal.Member) wal.LSN {
		if !own(m) {
			return 0
		}
		return p.nodes[m.ID].flush
	})
	if p.reached > p.commit {
		p.commit, e.Commit = p.reached, p.reached
	}
	held := p.el.reached(func(m pushwal.Member) wal.LSN {
		if !own(m) {
			return 0
		}
		return p.nodes[m.ID].durable
	})
	if held > p.held {
		p.held, e.Held = held, held
	}
	// What a node holds it holds, whether it counts or not: one that is joining
	// must not keep the others' WAL from ever being removed.
	holds := func(m pushwal.Member) wal.LSN {
		if n := p.nodes[m.ID]; n != nil {
			return n.flush
		}
		return 0
	}
	if t := min(p.commit, p.el.everyone(holds), p.coming()); t > p.truncate {
		p.truncate, e.Truncate = t, t
	}
	if p.synced || p.commit == 0 {
		return
	}
	if p.el.quorum(func(m pushwal.Member) bool { return p.counts(m) && p.nodes[m.ID].persisted >= p.start }) {
		p.synced, e.Synced = true, true
	}
}

// AppendRequest returns a request for the WAL [begin, begin+len(b)) with every
// field but the CRC filled in, which stays the caller's. It must not cross the
// end of a timeline (see Bound). Only after the election.
func (p *Proposer) AppendRequest(begin wal.LSN, b []byte) *pushwal.AppendRequest {
	return &pushwal.AppendRequest{
		Generation: p.conf.Generation, Term: p.term,
		Begin: begin, End: begin + wal.LSN(len(b)), CommitLSN: p.commit, TruncateLSN: p.truncate,
		TLI: p.tli.TLIAt(begin), WAL: b,
	}
}

// Bound returns the largest end of an AppendRequest that begins at begin: end
// itself, or the switch point in between.
func (p *Proposer) Bound(begin, end wal.LSN) wal.LSN {
	for _, s := range p.tli.Ancestors {
		if begin < s.Switch {
			return min(end, s.Switch)
		}
	}
	return end
}

// Starve notes that nobody gives a streaming peer the WAL that it goes on with,
// and says whether it is needed: those that stream and do not starve are no
// quorum. It starves until it has more, or is connected to anew.
func (p *Proposer) Starve(i int) (needed bool) {
	if p.phase != leading || !p.valid(i) || !p.peers[i].streaming {
		return false
	}
	p.peers[i].starves = true
	fed := func(o peer, id pushwal.NodeID) bool { return o.streaming && !o.starves && o.node.id == id }
	return !p.el.quorum(func(m pushwal.Member) bool {
		return p.counts(m) && slices.ContainsFunc(p.peers, func(o peer) bool { return fed(o, m.ID) })
	})
}

// Held says that a quorum has had all the WAL that there is on disk.
func (p *Proposer) Held() bool { return p.phase == leading && p.held >= p.available }

// Donor returns a streaming peer that holds the WAL from before the term, and
// how far it holds this proposer's, or ok = false.
func (p *Proposer) Donor() (peer int, upto wal.LSN, ok bool) {
	for i := range p.peers {
		o := &p.peers[i]
		if !o.connected || !o.streaming {
			continue
		}
		has := o.node.flush
		if o.node.id == p.donor.node {
			has = max(has, p.start)
		}
		if has > upto {
			peer, upto, ok = i, has, true
		}
	}
	return peer, upto, ok
}
