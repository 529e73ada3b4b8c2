package consensus

import (
	"fmt"
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// xAct is one step of somebody.
type xAct struct {
	kind xStep
	// number is that of the connection between the two; x and keep: see the steps.
	slot, node, number, x, keep int
}

type xStep uint8

const (
	stepStart   xStep = iota // the next slot starts
	stepToNode               // a message reaches a node, which crashes behind x of its effects unless 0
	stepToProp               // a message reaches a proposer
	stepDrop                 // a message to a node (x = 0) or to a proposer is lost
	stepDup                  // it arrives and stays under way
	stepAppend               // a node gets all that its proposer has for it; x and keep as with stepToNode
	stepSync                 // the group commit; x = 1: a crash behind it
	stepSynced               // the acceptor hears of it, where that is a step of its own
	stepCrash                // a node crashes with keep unsynced bytes left, and is back
	stepConnect              // a proposer connects to a node
	stepBreak                // and gives the connection up
	stepWrite                // the server writes a record
	stepTick                 // time passes for a proposer
	stepWipe                 // a node loses its data directory, and comes back joining
	stepLearn                // a node learns from the peer x
	stepAsk                  // a proposer is asked for the membership x
	stepGossip               // a node takes the membership of the peer x
)

var stepNames = [...]string{
	"start", "to node", "to proposer", "drop", "duplicate", "append", "sync", "synced", "crash", "connect", "break", "write", "tick", "wipe", "learn", "ask", "gossip",
}

func (a xAct) String() string {
	return fmt.Sprintf("%s(slot %d, node %d, connection %d, x %d, keep %d)", stepNames[a.kind], a.slot, a.node, a.number, a.x, a.keep)
}

// acts lists what may happen next.
func (w *xWorld) acts(out []xAct) []xAct {
	if k := int(w.left.started); k < len(w.s.proposers) && (!w.s.inTurn || k == 0 || w.props[k-1].ended || w.props[k-1].election != nil) {
		out = append(out, xAct{kind: stepStart})
	}
	for _, l := range w.links {
		out = w.linkActs(out, l)
	}
	for i, n := range w.nodes {
		out = w.nodeActs(out, i, n)
	}
	for i, p := range w.props {
		if p.ended {
			continue
		}
		for k := range w.nodes {
			if w.find(i, k) < 0 {
				out = append(out, xAct{kind: stepConnect, slot: i, node: k})
				continue
			}
			if w.left.breaks > 0 {
				out = append(out, xAct{kind: stepBreak, slot: i, node: k})
			}
		}
		if p.election != nil && p.kind != headless && p.wrote < w.s.writes {
			out = append(out, xAct{kind: stepWrite, slot: i})
		}
		if w.left.ticks > 0 && p.p.phase == campaigning && p.p.ownVoteLost() {
			out = append(out, xAct{kind: stepTick, slot: i})
		}
		for x := range w.s.wishes {
			if w.left.asks > 0 && p.election != nil {
				out = append(out, xAct{kind: stepAsk, slot: i, x: x})
			}
		}
	}
	return out
}

func (w *xWorld) linkActs(out []xAct, l *xLink) []xAct {
	act := xAct{slot: l.slot, node: l.node, number: l.number}
	add := func(kind xStep, x, keep int) {
		a := act
		a.kind, a.x, a.keep = kind, x, keep
		out = append(out, a)
	}
	arrives := func(kind xStep) {
		add(kind, 0, 0)
		for x := 1; x <= 3 && w.left.crashes > 0; x++ {
			for keep := range w.s.writes + 1 {
				add(kind, x, keep)
			}
		}
	}
	if !w.s.queued && l.open && len(l.toNode) == 0 && w.props[l.slot].owes(l.node) {
		arrives(stepAppend)
	}
	if len(l.toNode) > 0 {
		arrives(stepToNode)
		if w.left.drops > 0 {
			add(stepDrop, 0, 0)
		}
		if w.left.dups > 0 {
			add(stepDup, 0, 0)
		}
	}
	if len(l.toProp) > 0 {
		add(stepToProp, 0, 0)
		if w.left.drops > 0 && l.toProp[0].toProp != nil {
			add(stepDrop, 1, 0)
		}
		if w.left.dups > 0 && l.toProp[0].toProp != nil {
			add(stepDup, 1, 0)
		}
	}
	return out
}

func (w *xWorld) nodeActs(out []xAct, i int, n *xNode) []xAct {
	if n.syncing {
		out = append(out, xAct{kind: stepSynced, node: i})
	} else if n.needSync {
		out = append(out, xAct{kind: stepSync, node: i})
		if w.left.crashes > 0 {
			out = append(out, xAct{kind: stepSync, node: i, x: 1})
		}
	}
	if w.left.crashes > 0 {
		for keep := range len(n.log) - n.durable + 1 {
			out = append(out, xAct{kind: stepCrash, node: i, keep: keep})
		}
	}
	if w.left.wipes > 0 && n.life == 0 {
		out = append(out, xAct{kind: stepWipe, node: i})
	}
	for k := range w.nodes {
		if k != i && w.left.learns > 0 {
			out = append(out, xAct{kind: stepLearn, node: i, x: k})
		}
		if k != i && w.left.gossips > 0 && w.nodes[k].disk.Configuration.Generation > n.disk.Configuration.Generation {
			out = append(out, xAct{kind: stepGossip, node: i, x: k})
		}
	}
	return out
}

func (w *xWorld) do(act xAct) {
	switch act.kind {
	case stepStart:
		w.startProp()
	case stepAppend:
		i := w.find(act.slot, act.node)
		w.left.crashes -= int8(min(act.x, 1))
		w.toNode(i, xToNode(w.prop(act.slot).request(act.node)), act.x, act.keep)
	case stepToNode, stepToProp, stepDrop, stepDup:
		w.move(act)
	case stepSync:
		n := w.node(act.node)
		n.durable, n.needSync = len(n.log), false
		if act.x == 1 {
			w.left.crashes--
			w.crash(act.node, 0)
			return
		}
		if n.syncing = w.s.aside; !n.syncing {
			w.synced(act.node)
		}
	case stepSynced:
		w.synced(act.node)
	case stepCrash:
		w.left.crashes--
		w.crash(act.node, act.keep)
	case stepConnect:
		w.connect(act.slot, act.node)
	case stepBreak:
		w.left.breaks--
		w.hangUp(act.slot, act.node, true)
	case stepWrite:
		p := w.prop(act.slot)
		p.wrote++
		p.wal = append(p.wal, byte('a'+act.slot))
		w.event(act.slot, &Available{End: p.end()})
		for i := range w.nodes {
			w.pump(act.slot, i)
		}
	case stepTick:
		w.left.ticks--
		w.event(act.slot, &Tick{})
	case stepWipe:
		w.left.wipes--
		w.wipe(act.node)
	case stepLearn:
		w.learn(act.node, act.x)
	case stepAsk:
		w.left.asks--
		w.wish(act.slot, act.x)
	case stepGossip:
		w.left.gossips--
		w.gossip(act.node, act.x)
	}
}

// move delivers, loses or repeats the first message of a connection.
func (w *xWorld) move(act xAct) {
	i := slices.IndexFunc(w.links, func(l *xLink) bool { return l.slot == act.slot && l.node == act.node && l.number == act.number })
	q := &w.link(i).toNode
	if act.kind == stepToProp || act.x == 1 && act.kind != stepToNode {
		q = &w.link(i).toProp
	}
	if len(*q) == 0 {
		w.void = true
		return
	}
	m := (*q)[0]
	switch act.kind {
	case stepDup:
		w.left.dups--
	case stepDrop:
		w.left.drops--
		*q = slices.Delete(*q, 0, 1)
		return
	default:
		*q = slices.Delete(*q, 0, 1)
	}
	if m.toNode == nil {
		w.toProp(i, m)
		return
	}
	crash := 0
	if act.kind == stepToNode && act.x > 0 {
		crash = act.x
		w.left.crashes--
	}
	w.toNode(i, m, crash, act.keep)
}

func (w *xWorld) toNode(i int, m *xMsg, crash, keep int) {
	l := w.links[i]
	n := w.node(l.node)
	e, err := n.a.Step(l.conn(), m.toNode)
	if err != nil {
		w.void = crash > 0
		w.cutOff(i)
		return
	}
	_, vote := m.toNode.(*pushwal.VoteRequest)
	w.effects(l.node, e, vote, crash, keep)
	if _, ok := m.toNode.(*pushwal.ProposerElected); !ok || crash > 0 || w.s.queued {
		return
	}
	// The first append comes right behind it.
	if i := w.find(l.slot, l.node); i >= 0 && len(w.links[i].toNode) == 0 && w.links[i].number == l.number && w.props[l.slot].owes(l.node) {
		w.toNode(i, xToNode(w.prop(l.slot).request(l.node)), 0, 0)
	}
}

func (w *xWorld) toProp(i int, m *xMsg) {
	l := w.links[i]
	switch r := m.toProp.(type) {
	case nil:
		w.hangUp(l.slot, l.node, true)
	case *pushwal.VoteResponse:
		w.event(l.slot, &Voted{Peer: l.node, Response: r})
	case *pushwal.AppendResponse:
		w.event(l.slot, &Appended{Peer: l.node, Response: r})
	case *pushwal.ConfigurationResponse:
		w.event(l.slot, &Configured{Peer: l.node, Response: r})
	}
}

// wipe is a new data directory, with the timeline founded again.
func (w *xWorld) wipe(node int) {
	w.crash(node, 0)
	n := w.node(node)
	n.log, n.durable = nil, 0
	n.disk = xFounding(w.s, n.id)
	n.life = 1
	if w.s.broken != wipedCounts {
		n.disk.Incarnation[1] = 1
	}
	n.start(w)
}

// learn has a node take over what a peer knows to be committed, in one step.
func (w *xWorld) learn(node, peer int) {
	n := w.node(node)
	own, theirs := w.nodes[node].a, w.nodes[peer].a
	look := func(a *Acceptor) Look {
		s := a.State()
		return Look{
			Joining: a.Joining(), Config: s.Configuration, Term: s.Term, History: a.History(), TLIHistory: s.TLIHistory,
			FlushLSN: a.FlushLSN(), CommitLSN: a.CommitLSN(),
		}
	}
	l, ok := Learn(look(own), look(theirs))
	if !ok {
		w.void = true
		return
	}
	w.left.learns--
	const conn = ConnID(9999)
	b := w.nodes[peer].log[l.Start-xStart : max(l.Upto, l.Start)-xStart]
	g := own.State().Configuration.Generation
	for _, m := range []pushwal.ProposerMessage{
		&pushwal.ProposerGreeting{TTID: testID(), SystemID: 7, PGVersion: 170005, SegmentSize: testSegment, TLI: 1, Instance: pushwal.Instance{0xff}},
		&pushwal.ProposerElected{Generation: g, Term: l.Term, StartStreamingAt: l.Start, History: l.History, TLIHistory: l.TLIHistory},
		&pushwal.AppendRequest{
			Generation: g, Term: l.Term, Begin: l.Start, End: l.Start + wal.LSN(len(b)), CommitLSN: l.Commit, WAL: b, CRC: pushwal.Checksum(b),
		},
	} {
		e, err := n.a.Step(conn, m)
		if err != nil {
			break
		}
		w.effects(node, e, false, 0, 0)
	}
	n.a.Disconnected(conn)
}

// wish asks a proposer for another membership.
func (w *xWorld) wish(slot, x int) {
	c := w.props[slot].p.Configuration()
	c = pushwal.Configuration{Generation: c.Generation}
	for _, id := range w.s.wishes[x] {
		c.Members = append(c.Members, members(pushwal.NodeID(id))...)
	}
	w.event(slot, &Reconfigure{Config: c})
}

// gossip has a node take over the membership in force from a peer, unless it is no
// member of it and its vote may be needed in the one before.
func (w *xWorld) gossip(node, peer int) {
	n, from := w.node(node), w.nodes[peer]
	c := from.a.State().Configuration
	if from.a.Joining() || !names(c, n.id, n.disk.Incarnation) && !w.established(c) {
		w.void = true
		return
	}
	e, err := n.a.Install(c)
	if err != nil {
		w.fail("node %d does not take generation %d: %v", n.id, c.Generation, err)
		return
	}
	if e.Save != nil {
		n.save(w, *e.Save)
	}
}
