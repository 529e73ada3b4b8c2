package consensus

import (
	"encoding/binary"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

func cloneAcceptor(a *Acceptor) *Acceptor {
	b := *a
	b.conns, b.owing = make(map[ConnID]*connection, len(a.conns)), nil
	for id, c := range a.conns {
		d := *c
		b.conns[id] = &d
	}
	for _, c := range a.owing {
		b.owing = append(b.owing, b.conns[c.id])
	}
	b.appending = nil // an append is executed within a step
	return &b
}

func cloneProposer(p *Proposer) *Proposer {
	q := *p
	q.nodes, q.peers, q.votes = make(map[pushwal.NodeID]*node, len(p.nodes)), slices.Clone(p.peers), slices.Clip(p.votes)
	for id, n := range p.nodes {
		m := *n
		q.nodes[id] = &m
	}
	for i := range q.peers {
		if n := q.peers[i].node; n != nil {
			q.peers[i].node = q.nodes[n.id]
		}
	}
	return &q
}

// xKey is what a state is known by: two hashes of everything that decides what may
// come of it. Nodes that play the same part are told apart by what they hold only.
type xKey [2]uint64

var xSeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// xEnc writes values one behind the other.
type xEnc struct{ b []byte }

func (e *xEnc) u(vs ...uint64) {
	for _, v := range vs {
		e.b = binary.AppendUvarint(e.b, v)
	}
}

func (e *xEnc) lsn(l wal.LSN) {
	if l != 0 {
		l -= xStart - 1
	}
	e.u(uint64(l))
}

func (e *xEnc) bits(bs ...bool) {
	v := uint64(1)
	for _, b := range bs {
		if v <<= 1; b {
			v |= 1
		}
	}
	e.u(v)
}

func (e *xEnc) bytes(b []byte) {
	e.u(uint64(len(b)))
	e.b = append(e.b, b...)
}

func (e *xEnc) history(h pushwal.TermHistory) {
	e.u(uint64(len(h)))
	for _, t := range h {
		e.u(uint64(t.Term))
		e.lsn(t.LSN)
	}
}

func (e *xEnc) config(c *pushwal.Configuration) {
	if c == nil {
		e.u(0)
		return
	}
	e.u(1+uint64(c.Generation), uint64(len(c.Members)))
	for _, set := range [2][]pushwal.Member{c.Members, c.NewMembers} {
		for _, m := range set {
			e.u(uint64(m.ID), uint64(m.Incarnation[1]))
		}
	}
}

func (e *xEnc) ballot(b *ballot) {
	if b == nil {
		e.u(0)
		return
	}
	e.u(1, uint64(b.data[1]), uint64(b.proposedTerm))
	e.lsn(b.flush)
	e.lsn(b.truncate)
	e.history(b.history)
	e.config(&b.proposed)
}

// state writes what is durable of a node.
func (e *xEnc) state(s *State) {
	e.u(uint64(s.Term), uint64(s.Incarnation[1]), uint64(s.Accepted.Generation), uint64(s.Accepted.Term))
	e.bits(s.Joining)
	e.history(s.History)
	e.lsn(s.CommitLSN)
	e.lsn(s.TruncateLSN)
	e.config(&s.Configuration)
	e.config(&s.Proposed)
}

func (e *xEnc) node(n *xNode) {
	a := n.a
	e.bytes(n.log)
	e.u(uint64(n.durable), uint64(n.life), uint64(a.instance[1]))
	e.bits(n.needSync, n.syncing, a.dirty, a.following, a.lost != nil)
	e.state(&n.disk)
	e.state(&a.state)
	for _, l := range []wal.LSN{
		a.saved.commit, a.saved.truncate, a.write, a.writeRecord, a.flush, a.durable, a.termStart, a.commitHeard, a.truncateHeard,
	} {
		e.lsn(l)
	}
	for _, id := range slices.Sorted(maps.Keys(a.conns)) {
		c := a.conns[id]
		e.u(uint64(id), uint64(c.term))
		e.bits(c.elected, c.owes)
		if c.owes {
			e.lsn(c.until)
		}
	}
}

func (e *xEnc) link(l *xLink) {
	e.u(uint64(l.slot), uint64(l.number), uint64(len(l.toNode)), uint64(len(l.toProp)))
	e.bits(l.open)
	for _, m := range l.toNode {
		e.bytes(m.bytes)
	}
	for _, m := range l.toProp {
		e.bytes(m.bytes)
	}
}

// peer writes what a proposer knows of a node.
func (e *xEnc) peer(p *xProp, i int) {
	o := &p.p.peers[i]
	e.lsn(p.at[i])
	e.bits(p.owes(i))
	e.bits(o.connected, o.streaming, o.node == nil)
	e.u(uint64(o.generation), uint64(o.asked))
	e.ballot(o.position)
	if n := o.node; n != nil {
		e.u(uint64(n.incarnation[1]), uint64(n.knows))
		e.bits(n.lost, n.counts, n.asked, n.refused, n.ownVote, n.accepted)
		e.ballot(n.vote)
		e.lsn(n.flush)
		e.lsn(n.durable)
		e.lsn(n.persisted)
		e.config(&n.left)
	}
}

func (e *xEnc) prop(p *xProp) {
	q := p.p
	e.u(uint64(p.kind), uint64(p.wrote), uint64(q.phase), uint64(q.term), uint64(q.c.MinTerm), uint64(q.patience))
	e.bytes(p.wal)
	e.bits(p.ended, q.outdated, q.synced, p.election != nil)
	e.lsn(p.commit)
	if p.ended {
		return
	}
	e.history(q.history)
	e.config(&q.conf)
	e.config(q.target)
	e.config(q.pending)
	e.config(&q.proposal)
	for _, l := range []wal.LSN{q.start, q.available, q.commit, q.held, q.truncate, p.truncate, q.caught, q.reach, q.reached} {
		e.lsn(l)
	}
}

// sum returns the hash of what a function writes, which it keeps in at.
func (e *xEnc) sum(at *xKey, write func()) xKey {
	if *at == (xKey{}) {
		e.b = e.b[:0]
		write()
		*at = xKey{maphash.Bytes(xSeeds[0], e.b), maphash.Bytes(xSeeds[1], e.b)}
	}
	return *at
}

// key is what the state is known by. Parts that a step did not copy keep their hash.
func (w *xWorld) key(e *xEnc) xKey {
	var parts [12]xKey
	for i, n := range w.nodes {
		var sums [16]xKey
		of := append(sums[:0], e.sum(&n.hash, func() { e.node(n) }))
		for _, l := range w.links {
			if l.node == i {
				of = append(of, e.sum(&l.hash, func() { e.link(l) }))
			}
		}
		for _, p := range w.props {
			if !p.ended {
				of = append(of, e.sum(&p.peers[i], func() { e.peer(p, i) }))
			}
		}
		parts[i] = e.join(of)
	}
	of := parts[:len(w.nodes)]
	if w.s.alike() {
		slices.SortFunc(of, func(a, b xKey) int { return slices.Compare(a[:], b[:]) })
	}
	for _, p := range w.props {
		of = append(of, e.sum(&p.hash, func() { e.prop(p) }))
	}
	var k xKey
	return e.join(append(of, e.sum(&k, func() { e.rest(w) })))
}

func (e *xEnc) join(of []xKey) xKey {
	var k xKey
	return e.sum(&k, func() {
		for _, h := range of {
			e.b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(e.b, h[0]), h[1])
		}
	})
}

// rest writes what is no node's and no proposer's.
func (e *xEnc) rest(w *xWorld) {
	l := w.left
	for _, v := range []int8{l.started, l.crashes, l.breaks, l.drops, l.dups, l.wipes, l.learns, l.ticks, l.asks, l.gossips} {
		e.u(uint64(v))
	}
	for _, g := range w.ghost.leaders {
		e.u(uint64(g.term), uint64(g.slot))
		e.lsn(g.start)
	}
	e.bytes([]byte(w.ghost.committed))
	for i := range w.ghost.configs {
		e.config(&w.ghost.configs[i])
	}
}

// alike says whether all nodes play the same part, so that exchanging two of them
// makes no difference.
func (s *xScope) alike() bool { return s.joiners == 0 && len(s.wishes) == 0 }
