package consensus

import (
	"errors"
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// xNode is an acceptor, its disk, and a driver that keeps the rules of Effects
// unless told otherwise.
type xNode struct {
	id       pushwal.NodeID
	a        *Acceptor
	disk     State
	log      []byte // from xStart on
	durable  int    // bytes of it
	needSync bool
	syncing  bool // it is done, the acceptor has not heard of it
	life     byte // data directories that it has had
	hash     xKey
}

func (n *xNode) clone() *xNode {
	c := *n
	c.a, c.log, c.hash = cloneAcceptor(n.a), slices.Clone(n.log), xKey{}
	return &c
}

func (n *xNode) end() wal.LSN     { return xStart + wal.LSN(len(n.log)) }
func (n *xNode) flushed() wal.LSN { return xStart + wal.LSN(n.durable) }

// start brings the node up from its disk; what is left of the log is durable then.
func (n *xNode) start(w *xWorld) {
	n.durable, n.needSync, n.syncing = len(n.log), false, false
	n.a = NewAcceptor(n.id, n.disk, Positions{Write: n.end(), FlushRecord: n.end()})
	if err := n.a.Err(); err != nil {
		w.fail("C6: %v", err)
	}
}

func (n *xNode) save(w *xWorld, s State) {
	if s.Term < n.disk.Term || s.CommitLSN < n.disk.CommitLSN || s.Configuration.Generation < n.disk.Configuration.Generation {
		w.fail("node %d persists term %d, commit %s, generation %d after %d, %s, %d", n.id,
			s.Term, s.CommitLSN, s.Configuration.Generation, n.disk.Term, n.disk.CommitLSN, n.disk.Configuration.Generation)
	}
	n.disk = s
	w.inForce(s.Configuration)
}

// crash restarts a node with keep of its unsynced bytes. Its connections are gone.
func (w *xWorld) crash(node, keep int) {
	n := w.node(node)
	for i, l := range w.links {
		if l.node == node {
			w.cutOff(i)
		}
	}
	n.log = n.log[:n.durable+min(keep, len(n.log)-n.durable)]
	n.start(w)
}

// effects does what an acceptor says, or the first so many of its steps, 0 for all,
// and crashes behind them.
func (w *xWorld) effects(node int, e Effects, vote bool, until, keep int) {
	n := w.node(node)
	sync := func() { n.durable = len(n.log) }
	cut := func() { w.cut(n, e.Truncate) }
	save := func() { n.save(w, *e.Save) }
	var parts []func()
	if e.SyncFirst {
		parts = append(parts, sync)
	}
	switch {
	case e.Truncate != nil && w.s.broken == historyBeforeCut:
		parts = append(parts, save, cut)
	case e.Truncate != nil:
		parts = append(parts, cut, save)
	case e.Save != nil && !(vote && w.s.broken == voteNotSaved):
		parts = append(parts, save)
	}
	if m := e.Append; m != nil {
		parts = append(parts, func() {
			n.log = append(n.log, m.WAL...)
			n.a.Appended(n.end(), n.end())
		})
	}
	for i, do := range parts {
		do()
		if i+1 == until {
			w.crash(node, keep)
			return
		}
	}
	if until > 0 {
		w.void = true
		return
	}
	n.needSync = n.needSync || e.NeedSync
	if n.needSync && !w.s.lazy && w.s.broken != ackBeforeSync {
		sync()
		n.needSync = false
		w.answer(e.Send, node)
		w.effects(node, n.a.Synced(n.flushed(), n.flushed()), false, 0, 0)
		return
	}
	if w.s.broken == ackBeforeSync && n.needSync {
		w.answer(n.a.Synced(n.end(), n.end()).Send, node)
	}
	w.answer(e.Send, node)
}

// synced tells the acceptor what is durable. When the acknowledgement of what came
// during the sync is simulated, that is not.
func (w *xWorld) synced(node int) {
	n := w.node(node)
	n.syncing = false
	durable := n.flushed()
	if w.s.broken == ackDuringSync {
		durable = n.end()
	}
	w.effects(node, n.a.Synced(durable, durable), false, 0, 0)
}

// cut truncates a node's log. It never loses what the node knows to be committed.
func (w *xWorld) cut(n *xNode, t *Truncation) {
	if t.To < n.disk.CommitLSN || t.To > n.end() {
		w.fail("C3: node %d is to cut its WAL at %s; it ends at %s and knew %s to be committed", n.id, t.To, n.end(), n.disk.CommitLSN)
		return
	}
	if t.Prefix {
		w.fail("node %d makes up a prefix", n.id)
	}
	n.log = n.log[:t.To-xStart]
	n.durable, n.needSync = len(n.log), false
}

// xProp is a proposer, its driver and the server behind it.
type xProp struct {
	kind     xKind
	quiet    bool
	p        *Proposer
	wal      []byte // from xStart on
	wrote    int
	at       []wal.LSN // where the stream to a node stands, 0 = none
	told     []wal.LSN // and which commit position it was told
	commit   wal.LSN
	truncate wal.LSN
	election *Election
	ended    bool
	hash     xKey
	peers    [4]xKey
}

func (p *xProp) clone() *xProp {
	c := *p
	c.p, c.wal, c.at, c.told = cloneProposer(p.p), slices.Clone(p.wal), slices.Clone(p.at), slices.Clone(p.told)
	c.hash, c.peers = xKey{}, [4]xKey{}
	return &c
}

func (p *xProp) end() wal.LSN { return xStart + wal.LSN(len(p.wal)) }

// startProp starts the next slot: it looks at all nodes and connects to them.
func (w *xWorld) startProp() {
	slot := int(w.left.started)
	w.left.started++
	kind := w.s.proposers[slot]
	var looks []Look
	for _, n := range w.nodes {
		s := n.a.State()
		looks = append(looks, Look{
			Node: n.id, Incarnation: s.Incarnation, Joining: n.a.Joining(), Config: s.Configuration, Term: s.Term,
			History: n.a.History(), TLIHistory: s.TLIHistory, FlushLSN: n.a.FlushLSN(), CommitLSN: n.a.CommitLSN(),
		})
	}
	c := ProposerConfig{
		ID: testID(), SystemID: 7, PGVersion: 170005, SegmentSize: testSegment, Peers: len(w.nodes),
		Instance: pushwal.Instance{1, byte(slot)}, Headless: kind == headless,
	}
	members, counts, _ := Believe(looks)
	c.Members = members
	for i, l := range looks {
		if counts[i] {
			c.MinTerm = max(c.MinTerm, l.Term)
		}
	}
	p := &xProp{kind: kind, quiet: w.s.quiet, p: NewProposer(c), at: make([]wal.LSN, len(w.nodes)), told: make([]wal.LSN, len(w.nodes))}
	if kind == again {
		p.wal = slices.Clone(w.props[0].wal)
		w.endProp(0)
	}
	w.props = append(w.props, p)
	w.fresh = append(w.fresh, p)
	for i := range w.nodes {
		w.connect(slot, i)
	}
}

// endProp ends a proposer; what it sent may still arrive.
func (w *xWorld) endProp(slot int) {
	w.prop(slot).ended = true
	for i := range w.nodes {
		w.hangUp(slot, i, false)
	}
}

// event has a proposer handle an event.
func (w *xWorld) event(slot int, ev Event) {
	p := w.prop(slot)
	if p.ended {
		return
	}
	e, err := p.p.Step(ev)
	if err != nil {
		switch ev := ev.(type) {
		case *Greeted:
			w.hangUp(slot, ev.Peer, false)
		case *Voted:
			w.hangUp(slot, ev.Peer, false)
		case *Appended:
			w.hangUp(slot, ev.Peer, false)
		case *Configured:
			w.hangUp(slot, ev.Peer, false)
		}
		return
	}
	w.propEffects(slot, p, e)
}

func (w *xWorld) propEffects(slot int, p *xProp, e ProposerEffects) {
	if e.Elected != nil {
		p.election = e.Elected
		if p.kind == headless {
			p.wal = []byte(w.truth(e.Elected.History[len(e.Elected.History)-2].Term, e.Elected.Start))
		}
		w.checkElected(slot, e.Elected)
	}
	for _, m := range e.Send {
		w.send(slot, m.Peer, m.Msg)
	}
	for _, s := range e.Stream {
		p.at[s.Peer], p.told[s.Peer] = s.At, 0
		w.pump(slot, s.Peer)
	}
	for _, d := range e.Drop {
		w.hangUp(slot, d.Peer, false)
	}
	if e.Commit > p.commit {
		p.commit = e.Commit
		w.checkCommit(slot, e.Commit)
		for i := range w.nodes {
			if !p.quiet {
				w.pump(slot, i)
			}
		}
	}
	if e.Truncate != 0 {
		w.checkTruncate(p, e.Truncate)
	}
	if e.Members != nil && e.Members.Generation == p.p.Configuration().Generation {
		w.inForce(*e.Members)
	}
	if e.Fatal != nil {
		w.endProp(slot)
	}
	if e.Prove != nil {
		w.prove(slot, p, e.Prove)
	}
}

// prove answers at once. A restored server has been made from what the voters hold.
func (w *xWorld) prove(slot int, p *xProp, r *ProofRequest) {
	theirs := w.truth(lastTerm(r.History), r.Upto)
	var err error
	switch {
	case p.kind == restored:
		p.wal = []byte(theirs)
	case len(p.wal) < len(theirs) || string(p.wal[:len(theirs)]) != theirs:
		err = errors.New("the WAL differs")
	}
	w.event(slot, &Available{End: p.end()})
	w.event(slot, &Proved{Term: r.Term, Err: err})
}

// pump sends a node everything that it lacks, or a heartbeat.
func (w *xWorld) pump(slot, node int) {
	p := w.prop(slot)
	if w.s.queued && !p.ended && p.at[node] != 0 {
		w.send(slot, node, p.request(node))
	}
}

// owes says whether a node has not been told everything.
func (p *xProp) owes(node int) bool {
	return !p.ended && p.at[node] != 0 && (p.at[node] < p.end() || p.told[node] == 0 || !p.quiet && p.told[node] < p.p.CommitLSN())
}

// request is what a node has not been told, and notes that it was.
func (p *xProp) request(node int) *pushwal.AppendRequest {
	at := p.at[node]
	b := p.wal[at-xStart:]
	m := p.p.AppendRequest(at, b)
	m.CRC, m.WAL = pushwal.Checksum(b), slices.Clone(b)
	p.at[node], p.told[node] = m.End, max(p.p.CommitLSN(), 1)
	return m
}
