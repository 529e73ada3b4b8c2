package sim

import (
	"bytes"
	"errors"
	"maps"
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// writer is a proposer, its driver, and the server that it speaks for; headless
// ones have none.
type writer struct {
	wd       *World
	id       int
	server   *server
	p        *consensus.Proposer
	links    []*link
	at       []wal.LSN // where the stream to a peer stands, 0 = none
	proving  *consensus.ProofRequest
	election *consensus.Election
	end      wal.LSN // of what came from the server in this term
	held     wal.LSN // what a quorum has on disk
	starving int     // how often nobody had what is needed for a quorum
	truth    []byte  // WAL up to the start, for headless ones
	acked    map[pushwal.NodeID]wal.LSN
	ballots  map[pushwal.NodeID]ballot // votes given,
	counted  map[pushwal.NodeID]ballot // and those that the proof was asked for
	commit   wal.LSN
	truncate wal.LSN
	synced   bool
	dead     bool
}

// newWriter starts a writer that connects to all nodes.
func (wd *World) newWriter(s *server) *writer {
	wd.nextWriter++
	w := &writer{
		wd: wd, id: wd.nextWriter, server: s, links: make([]*link, len(wd.nodes)), at: make([]wal.LSN, len(wd.nodes)),
		acked: map[pushwal.NodeID]wal.LSN{}, ballots: map[pushwal.NodeID]ballot{},
	}
	c := consensus.ProposerConfig{
		ID: wd.ttid, SystemID: systemID, PGVersion: pgVersion, SegmentSize: segment, Peers: len(wd.nodes),
		Instance: pushwal.Instance{1, byte(w.id)}, Headless: s == nil,
	}
	if s != nil {
		c.TLIHistory = s.tli
	}
	if s != nil || wd.rng.IntN(8) > 0 {
		c.MinTerm = wd.look()
		if wd.cfg.Spares > 0 {
			c.MinTerm, c.Members = wd.lookMembers()
		}
	}
	w.p = consensus.NewProposer(c)
	wd.writers = append(wd.writers, w)
	for i := range wd.nodes {
		w.connect(i)
	}
	return w
}

// look asks the nodes that are up for their terms, as a real one would first.
func (wd *World) look() (t wal.Term) {
	for _, n := range wd.nodes {
		if n.up && !n.wiped {
			t = max(t, n.acceptor.State().Term)
		}
	}
	return t
}

// connect opens a connection to a peer that has none.
func (w *writer) connect(peer int) {
	if w.links[peer] != nil || !w.wd.nodes[peer].up {
		return
	}
	w.wd.nextConn++
	l := &link{conn: w.wd.nextConn, w: w, n: w.wd.nodes[peer], peer: peer, open: true, toNode: [][]byte{encode(w.p.Greeting(peer))}}
	w.links[peer] = l
	w.wd.links = append(w.wd.links, l)
}

func (w *writer) handle(l *link, m pushwal.AcceptorMessage) {
	switch m := m.(type) {
	case *pushwal.AcceptorGreeting:
		if w.wd.cfg.Break.QuorumOfOne {
			m.Config.Members = m.Config.Members[:1]
		}
		if m.Options != nil && m.Options.Joining {
			delete(w.ballots, l.n.id) // It was wiped since: the proposer forgets its vote.
		}
		w.step(&consensus.Greeted{Peer: l.peer, Greeting: m})
	case *pushwal.VoteResponse:
		before := w.ballots[l.n.id]
		if m.VoteGiven && m.Term == w.p.Term() {
			w.ballots[l.n.id] = ballot{m, l.n.disk.view().state.Incarnation}
		}
		if !w.step(&consensus.Voted{Peer: l.peer, Response: m}) {
			w.ballots[l.n.id] = before
		}
	case *pushwal.AppendResponse:
		if m.Term == w.p.Term() && (!l.n.wiped || w.wd.cfg.Spares > 0) {
			w.acked[l.n.id] = max(w.acked[l.n.id], m.FlushLSN)
		}
		w.step(&consensus.Appended{Peer: l.peer, Response: m})
	case *pushwal.ConfigurationResponse:
		w.step(&consensus.Configured{Peer: l.peer, Response: m})
	}
}

// step says whether the proposer took the event.
func (w *writer) step(ev consensus.Event) bool {
	if w.dead {
		return true
	}
	before := w.p.Term()
	e, err := w.p.Step(ev)
	w.wd.stats.count("proposer: campaign again", boolInt(before != 0 && w.p.Term() > before))
	if err != nil {
		w.wd.stats.count("proposer refuses: "+cause(err), 1)
		if i := peerOf(ev); i >= 0 && w.links[i] != nil {
			w.wd.breakLink(w.links[i], w.wd.rng.IntN(2) == 0)
		}
		return false
	}
	w.run(e)
	return true
}

func peerOf(ev consensus.Event) int {
	switch ev := ev.(type) {
	case *consensus.Greeted:
		return ev.Peer
	case *consensus.Voted:
		return ev.Peer
	case *consensus.Appended:
		return ev.Peer
	case *consensus.Configured:
		return ev.Peer
	}
	return -1
}

func (w *writer) run(e consensus.ProposerEffects) {
	if e.Elected != nil {
		w.elected(e.Elected)
	}
	for _, m := range e.Send {
		l := w.links[m.Peer]
		if l == nil {
			continue // dropped by the same effects
		}
		l.toNode = append(l.toNode, encode(m.Msg))
	}
	if e.Prove != nil {
		w.proving, w.counted = e.Prove, maps.Clone(w.ballots)
	}
	for _, s := range e.Stream {
		w.at[s.Peer] = s.At
		w.pump(s.Peer, 0)
	}
	for _, d := range e.Drop {
		if l := w.links[d.Peer]; l != nil {
			w.wd.breakLink(l, false)
		}
	}
	if w.wd.cfg.Break.OldTermCommit && w.election != nil {
		e.Commit = w.commitOfAnyTerm()
	}
	if e.Commit > w.commit {
		w.commit = e.Commit
		w.wd.checkCommit(w, e.Commit)
		for i := range w.at {
			w.pump(i, 0)
		}
	}
	w.held = max(w.held, e.Held)
	if e.Truncate != 0 {
		w.wd.checkTruncate(w, e.Truncate)
	}
	if e.Members != nil && e.Members.Generation == w.p.Configuration().Generation {
		w.wd.stats.count("membership: came into force", 1)
		w.wd.inForce(*e.Members)
	}
	if e.Synced {
		w.synced = true
		w.wd.stats.count("proposer: commit persisted by a quorum", 1)
	}
	if e.Fatal != nil {
		w.wd.stats.count("proposer ends: "+e.Fatal.Cause.Error(), 1)
		w.kill()
	}
}

// commitOfAnyTerm is the commit position without the rule that it must be of the
// own term.
func (w *writer) commitOfAnyTerm() wal.LSN {
	var lsns []wal.LSN
	for _, n := range w.wd.nodes {
		lsns = append(lsns, w.acked[n.id])
	}
	slices.Sort(lsns)
	return lsns[len(lsns)-(len(lsns)/2+1)]
}

func (w *writer) elected(e *consensus.Election) {
	w.election = e
	w.end = e.Start
	w.wd.stats.count("proposer: elected", 1)
	if w.server == nil {
		w.truth = slices.Clone(w.wd.truthUpto(e.History[len(e.History)-2].Term, e.Start))
		w.wd.stats.count("proposer: elected headless", 1)
	}
	w.wd.checkElected(w, e)
}

// wal is all that the writer can send.
func (w *writer) wal() []byte {
	if w.server == nil {
		return w.truth
	}
	return w.server.wal
}

// prove answers the proof request by comparing every byte.
func (w *writer) prove() {
	if w.proving == nil {
		return
	}
	r := w.proving
	var err error
	if !w.wd.cfg.Break.NoProof {
		theirs := w.wd.truthUpto(lastTerm(r.History), r.Upto)
		if len(w.server.wal) < len(theirs) || !bytes.Equal(w.server.wal[:len(theirs)], theirs) {
			err = errors.New("the WAL differs")
		}
	} else if w.server.end() < r.Upto {
		err = errors.New("behind")
	}
	w.proving = nil
	w.step(&consensus.Proved{Term: r.Term, Err: err})
}

func lastTerm(h pushwal.TermHistory) wal.Term {
	if len(h) == 0 {
		return 0
	}
	return h[len(h)-1].Term
}

// pump sends a peer up to n bytes, cut anywhere, or a heartbeat. What is not in
// memory comes from a donor.
func (w *writer) pump(peer, n int) {
	l, at := w.links[peer], w.at[peer]
	if w.dead || l == nil || at == 0 {
		return
	}
	end := w.p.Bound(at, at+wal.LSN(min(n, pushwal.MaxAppend)))
	var b []byte
	switch {
	case n == 0:
	case at < w.floor() && (w.server == nil || at >= w.wd.start): // the server has its first segment
		if b = w.fetch(peer, at, min(end, w.floor())); w.dead {
			return
		}
	case at < w.end:
		b = w.server.wal[at-base : min(end, w.end)-base]
	}
	m := w.p.AppendRequest(at, b)
	m.CRC = pushwal.Checksum(b)
	w.at[peer] = m.End
	l.toNode = append(l.toNode, encode(m))
}

// write lets the server write and the writer send.
func (w *writer) write() {
	r := w.wd.rng
	if w.server != nil {
		if len(w.server.wal) < w.wd.cfg.MaxWAL {
			w.server.work(r, w.wd.cfg.Switches)
		}
		w.tap()
	}
	for i := range w.at {
		switch {
		case w.dead:
			return
		case r.IntN(3) > 0:
			w.pump(i, 1+r.IntN(2000))
		case r.IntN(4) == 0:
			w.pump(i, pushwal.MaxAppend)
		}
	}
}

// kill ends the writer; what it sent may still arrive.
func (w *writer) kill() {
	if w.dead {
		return
	}
	w.dead = true
	for _, l := range w.links {
		if l != nil {
			w.wd.breakLink(l, w.wd.rng.IntN(2) == 0)
		}
	}
}
