package sim

import (
	"slices"

	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// floor is the oldest position in memory. A headless run has nothing there.
func (w *writer) floor() wal.LSN {
	return max(w.election.Start, w.end-min(w.end, wal.LSN(w.wd.cfg.Queue)))
}

// tap takes what the server has written into memory, as far as there is room: what
// no quorum holds stays.
func (w *writer) tap() {
	if w.server == nil {
		return
	}
	room := max(w.election.Start, w.held) + wal.LSN(w.wd.cfg.Queue)
	w.wd.stats.count("queue: full", boolInt(w.server.end() > room))
	w.end = max(w.end, min(w.server.end(), room))
	w.step(&consensus.Available{End: w.end})
}

// fetch gets WAL for a laggard from a donor, as far as it has it. When nobody has
// what is needed for a quorum, the term ends.
func (w *writer) fetch(peer int, at, end wal.LSN) []byte {
	donor, upto, ok := w.p.Donor()
	if !ok || donor == peer || upto <= at {
		if w.p.Starve(peer) {
			w.starving++
		}
		if w.starving > 20 {
			w.wd.stats.count("laggard: ends the term, nobody feeds it", 1)
			w.kill()
		}
		return nil
	}
	w.starving = 0
	from := w.wd.nodes[donor]
	if !w.wd.checkThere(from, w.wd.nodes[peer], at) {
		return nil
	}
	b := w.wd.termRead(from, w, at, min(end, upto))
	w.wd.stats.count("laggard: fed by a donor", boolInt(len(b) > 0))
	return b
}

// termRead is what a node gives to a recovering proposer: what is durable, committed
// or not, if the node is in that very term.
func (wd *World) termRead(n *node, w *writer, at, end wal.LSN) []byte {
	if !n.up || wd.cut[[2]int{w.id, int(n.id)}] {
		return nil
	}
	if n.acceptor.State().Term != w.p.Term() && !wd.cfg.Break.AnyTermRead {
		wd.stats.count("laggard: donor is in another term", 1)
		return nil
	}
	m := n.disk.view()
	if end = min(end, m.flushed, m.end()); end <= at {
		return nil
	}
	b := slices.Clone(m.bytes[at-base : end-base])
	wd.checkTermRead(n, w, at, b)
	return b
}
