package sim

import (
	"errors"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// node is a safekeeper: an acceptor, its disk, and the driver between them,
// which may crash between any two effects.
type node struct {
	wd       *World
	id       pushwal.NodeID
	disk     disk
	acceptor *consensus.Acceptor
	up       bool
	wiped    bool // and, while the membership stays as it is, out for good
	life     byte // data directories that it has had
	needSync bool
	syncing  bool     // a sync has done its work, and the acceptor has not heard of it
	commit   wal.LSN  // highest seen in this life
	cutIn    wal.Term // in which the log was last cut in this life
	promised wal.Term // highest ever persisted in this data directory
	votedIn  wal.Term // highest that this data directory gave its vote in
}

// start brings a node up from what is on its disk.
func (n *node) start() {
	m := n.disk.view()
	n.acceptor = consensus.NewAcceptor(n.id, m.state, consensus.Positions{Write: m.end(), FlushRecord: m.flushed})
	n.up, n.needSync, n.syncing, n.commit, n.cutIn = true, false, false, 0, 0
	if err := n.acceptor.Err(); n.wd.broken(c6, err != nil) {
		n.wd.fail("C6: %v", err)
	}
}

// peer is its place in the list that writers have.
func (n *node) peer() int { return int(n.id) - 1 }

// crash takes it down; connections are gone at once.
func (n *node) crash() {
	n.up = false
	n.wd.stats.count("node: crash", 1)
	for _, l := range append([]*link(nil), n.wd.links...) {
		if l.n == n {
			n.wd.breakLink(l, true)
		}
	}
	if err := n.disk.crash(n.wd.rng); err != nil {
		n.wd.failErr(err)
	}
}

// rebuild is what the driver does when a write or a sync failed: it makes everything
// anew from what is on disk, as after a crash. What was not synced may be there or
// not.
func (n *node) rebuild() {
	n.crash()
	if n.wd.err == nil {
		n.start()
	}
}

// handle steps the acceptor and does what it says.
func (n *node) handle(l *link, m pushwal.ProposerMessage) {
	e, err := n.acceptor.Step(l.conn, m)
	if err != nil {
		n.refuse(l, err)
		return
	}
	n.wd.checkStep(n, m, e)
	_, vote := m.(*pushwal.VoteRequest)
	n.run(l, e, vote)
}

// refuse ends a connection with an error.
func (n *node) refuse(l *link, err error) {
	n.wd.stats.count("node refuses: "+cause(err), 1)
	n.acceptor.Disconnected(l.conn)
	n.wd.breakLink(l, true)
}

func cause(err error) string {
	var e *consensus.Error
	if errors.As(err, &e) {
		return e.Cause.Error()
	}
	return "corrupt WAL"
}

// run does the effects in order. Each part may be the last thing that this life
// does.
func (n *node) run(l *link, e consensus.Effects, vote bool) {
	if !n.persist(e, vote) || n.wd.crashes(n) {
		return
	}
	if e.Append != nil && !n.append(l, e.Append) {
		return
	}
	n.needSync = n.needSync || e.NeedSync
	n.send(e.Send)
	n.wd.checkNode(n)
	if n.wd.cfg.Break.AckBeforeSync && n.needSync {
		n.acknowledge()
	}
}

// persist does the effects that are durable when they are done, and says whether this
// life goes on behind them.
func (n *node) persist(e consensus.Effects, vote bool) bool {
	broken := n.wd.cfg.Break
	var parts []func() error
	if e.SyncFirst {
		parts = append(parts, n.syncLog)
	}
	truncate := func() error {
		n.wd.checkTruncation(n, e.Truncate)
		return n.disk.truncate(e.Truncate.To, e.Truncate.History)
	}
	save := func() error { return n.disk.save(*e.Save) }
	switch {
	case e.Truncate != nil && broken.HistoryBeforeTruncation:
		parts = append(parts, save, truncate)
	case e.Truncate != nil:
		parts = append(parts, truncate, save)
	case e.Save != nil && !(vote && broken.VoteNotSaved):
		parts = append(parts, save)
	}
	if e.Truncate != nil && n == n.wd.victim {
		n.wd.nervous = n
		defer func() { n.wd.nervous = nil }()
	}
	for _, do := range parts {
		if n.wd.crashes(n) {
			return false
		}
		if n.wd.chance(n.wd.cfg.Disk) {
			n.wd.stats.count("disk: control file or truncation failed", 1)
			n.rebuild()
			return false
		}
		if err := do(); err != nil {
			n.wd.failErr(err)
			return false
		}
	}
	n.promised = max(n.promised, n.disk.view().state.Term)
	if e.Truncate != nil {
		n.cutIn = e.Save.Term
	}
	return true
}

// append writes WAL, and says whether the log took it.
func (n *node) append(l *link, a *pushwal.AppendRequest) bool {
	if n.wd.chance(n.wd.cfg.Disk) {
		n.wd.stats.count("disk: full", 1)
		n.refuse(l, errors.New("no space left"))
		return false
	}
	if err := n.disk.append(a.TLI, a.Begin, a.WAL); err != nil {
		if isViolation(err) {
			n.wd.failErr(err)
		}
		n.refuse(l, err)
		return false
	}
	m := n.disk.view()
	n.acceptor.Appended(m.end(), m.recordEnd())
	return true
}

// syncLog makes the log durable.
func (n *node) syncLog() error {
	n.wd.stats.count("node: sync", 1)
	return n.disk.sync()
}

// sync is the group commit. The acceptor may hear of it later, after more was taken, or
// cut; the next call tells it then.
func (n *node) sync() {
	if n.syncing {
		n.acknowledge()
		return
	}
	if !n.needSync || n.wd.crashes(n) {
		return
	}
	if n.wd.chance(n.wd.cfg.Disk) {
		n.wd.stats.count("disk: fsync failed", 1)
		n.rebuild()
		return
	}
	if err := n.syncLog(); err != nil {
		n.wd.failErr(err)
		return
	}
	if n.wd.crashes(n) {
		return
	}
	n.needSync, n.syncing = false, true
	if n.wd.dice.IntN(3) > 0 {
		n.acknowledge()
	}
}

// acknowledge tells the acceptor what is durable. When the acknowledgement before the
// sync is simulated, or of what came during it, that is not.
func (n *node) acknowledge() {
	m, broken := n.disk.view(), n.wd.cfg.Break
	durable, flushed := base+wal.LSN(m.durable), m.flushed
	if broken.AckBeforeSync || broken.AckDuringSync {
		durable, flushed = m.end(), m.recordEnd()
	}
	if n.syncing && m.flushed < m.recordEnd() {
		n.wd.stats.count("node: WAL taken during a sync", 1)
	}
	e := n.acceptor.Synced(durable, flushed)
	n.syncing = false
	if broken.AckBeforeSync {
		n.needSync = false
	}
	n.run(nil, e, false)
}

// checkpoint persists positions that moved, and removes WAL that nobody needs. Who
// joins a membership that changes has to be given all of it.
func (n *node) checkpoint() {
	if s := n.acceptor.Checkpoint(); s != nil {
		if err := n.disk.save(*s); err != nil {
			n.wd.failErr(err)
			return
		}
	}
	if n.wd.cfg.Spares > 0 || n.acceptor.Joining() {
		return
	}
	m := n.disk.view()
	// A member may lack the bytes that align the record it holds: safekeepers, which remove
	// whole segments, leave the one with the byte in front.
	member := max(m.state.TruncateLSN, 8) - 8
	horizon, before := min(m.state.CommitLSN, member, n.acceptor.FlushLSN()), m.oldest
	if n.wd.cfg.Break.RemovesFlushed {
		horizon = n.acceptor.FlushLSN()
	}
	if err := n.disk.remove(horizon); err != nil {
		n.wd.failErr(err)
		return
	}
	n.wd.checkRemoved(n)
	if m.oldest > before {
		n.wd.stats.count("node: old WAL removed", 1)
		if n.wd.dice.IntN(4) == 0 && n.wd.cfg.Crash > 0 && !n.wd.calm {
			n.crash()
		}
	}
}

// send queues answers on the connections that are still used.
func (n *node) send(out []consensus.Outgoing) {
	for _, o := range out {
		switch m := o.Msg.(type) {
		case *pushwal.VoteResponse:
			n.wd.checkVote(n, m)
		case *pushwal.AppendResponse:
			n.wd.checkAck(n, m)
		}
		for _, l := range n.wd.links {
			if l.conn == o.Conn && l.open {
				l.toProp = append(l.toProp, encode(o.Msg))
			}
		}
	}
}

// wipe is a new data directory under the old ID.
func (n *node) wipe() {
	n.crash()
	n.disk.close()
	n.wiped = true
	n.promised, n.votedIn = 0, 0
	n.wd.stats.count("node: wiped", 1)
	if n.wd.cfg.Spares > 0 && !n.wd.cfg.Break.JoiningCounts {
		n.disk = nil // until an operator, or a proposer, has it join
		return
	}
	s := n.wd.founding(n.id)
	if !n.wd.cfg.Break.JoiningCounts {
		s.Joining = n.wd.rng.IntN(2) == 0 // the new incarnation alone must do
		s.Incarnation[1] = 0xff
	}
	n.disk = n.wd.newDisk(s)
}
