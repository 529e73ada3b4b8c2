package sim

import (
	"slices"

	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// next does one random step.
func (wd *World) next() {
	r := wd.rng
	// Nodes that learn hide some of what broken drivers do.
	if b := wd.cfg.Break; (b == Break{} || b.LearnsFlushed) && r.IntN(10) == 0 {
		wd.learn()
	}
	if wd.cfg.Spares > 0 && r.IntN(5) == 0 {
		wd.operate()
	}
	if wd.scene != nil && r.IntN(8) > 0 {
		wd.play()
		wd.tidy()
		return
	}
	if wd.scene == nil && wd.chance(wd.cfg.Scenes) {
		wd.begin()
	}
	kinds := 1000 + 10*wd.cfg.Strife
	if wd.scene != nil {
		kinds = 966 // Nobody else campaigns, no writer is killed, no link given up.
	}
	switch x := r.IntN(kinds); {
	case x >= 1000:
		wd.strife()
	case x < 600:
		wd.deliver()
	case x < 720:
		if w := wd.writer(); w != nil && w.election != nil {
			w.write()
		}
	case x < 840:
		if n := wd.nodes[r.IntN(len(wd.nodes))]; n.up {
			n.sync()
			if n.up && wd.dice.IntN(12) == 0 {
				n.checkpoint()
			}
		}
	case x < 870:
		if w := wd.writer(); w != nil {
			w.prove()
		}
	case x < 890:
		if w := wd.writer(); w != nil {
			w.step(&consensus.Tick{})
			for i := 0; i < 20 && wd.chance(4); i++ {
				wd.stats.count("clock: jumped", boolInt(i == 0))
				w.step(&consensus.Tick{})
			}
		}
	case x < 930:
		if w := wd.writer(); w != nil {
			w.connect(r.IntN(len(wd.nodes)))
		}
	case x < 960:
		if n := wd.nodes[r.IntN(len(wd.nodes))]; !n.up && n.disk != nil {
			n.start()
		}
	default:
		wd.disturb(x - 960)
	}
	wd.tidy()
}

// tidy forgets what has ended.
func (wd *World) tidy() {
	wd.sweep()
	wd.writers = slices.DeleteFunc(wd.writers, func(w *writer) bool { return w.dead })
}

// strife starts and ends writers, and cuts them off from nodes.
func (wd *World) strife() {
	w := wd.writer()
	switch wd.rng.IntN(4) {
	case 0:
		wd.startWriter()
	case 1:
		if w != nil {
			w.kill()
		}
	default:
		if w != nil {
			wd.stats.count("network: partition changed", 1)
			for _, n := range wd.nodes {
				wd.cut[[2]int{w.id, int(n.id)}] = wd.rng.IntN(3) == 0
			}
		}
	}
}

// disturb does what goes wrong, x in 0..39.
func (wd *World) disturb(x int) {
	r := wd.rng
	n := wd.nodes[r.IntN(len(wd.nodes))]
	switch {
	case x < 6:
		if n.up && wd.cfg.Crash > 0 {
			n.crash()
		}
	case x < 22:
		wd.startWriter()
	case x < 26:
		if w := wd.writer(); w != nil && r.IntN(3) == 0 {
			wd.stats.count("proposer: killed", 1)
			w.kill()
		}
	case x < 30:
		if len(wd.links) > 0 {
			wd.stats.count("network: connection broken", 1)
			wd.breakLink(wd.links[r.IntN(len(wd.links))], r.IntN(2) == 0)
		}
	case x < 34:
		if w := wd.writer(); w != nil {
			k := [2]int{w.id, int(n.id)}
			wd.cut[k] = !wd.cut[k]
			wd.stats.count("network: partition changed", 1)
		}
	case x < 38:
		if n.up {
			n.checkpoint()
		}
	case wd.cfg.Spares > 0:
		if wd.cfg.Wipe && n.disk != nil && wd.spared(n) {
			n.wipe()
		}
	default:
		if wd.cfg.Wipe && !n.wiped && wd.wiped() < (len(wd.nodes)-1)/2 {
			n.wipe()
		}
	}
}

func (wd *World) wiped() (k int) {
	for _, n := range wd.nodes {
		k += boolInt(n.wiped)
	}
	return k
}

// writer picks one that is alive.
func (wd *World) writer() *writer {
	if len(wd.writers) == 0 {
		return nil
	}
	return wd.writers[wd.rng.IntN(len(wd.writers))]
}

// startWriter starts a writer: for a server that has none, for one that came
// back from a crash, for one that was promoted or restored from the quorum, or a
// headless one.
func (wd *World) startWriter() {
	if len(wd.writers) >= 3 {
		return
	}
	r := wd.rng
	s := wd.servers[r.IntN(len(wd.servers))]
	if slices.ContainsFunc(wd.writers, func(w *writer) bool { return w.server == s }) {
		return
	}
	seq := wd.newSeq()
	switch r.IntN(10) {
	case 0:
		wd.stats.count("server: lost its latest records", 1)
		wd.adopt(s, s.torn(r, seq))
	case 8:
		if len(s.wal) < wd.cfg.MaxWAL && r.IntN(2) == 0 {
			s.message(wal.BlockSize + r.IntN(2*wal.BlockSize)) // written to the server's own disk only
		}
		if n := s.interrupted(r, seq); n != nil {
			wd.stats.count("server: crashed inside a record", 1)
			wd.adopt(s, n)
		}
	case 1:
		wd.stats.count("server: wrote alone", 1)
		for range 1 + r.IntN(3) {
			s.message(r.IntN(200))
		}
		wd.newWriter(s)
	case 2:
		wd.stats.count("server: promoted", 1)
		wd.adopt(nil, promoted("promoted", s, wd.newTLI(s), seq))
	case 3:
		// A copy of the data directory is started beside the server, or in its place.
		wd.stats.count("server: cloned", 1)
		wd.adopt(nil, restored("clone", s.wal, s.tli, seq))
	case 4:
		wd.newWriter(nil)
	case 5:
		if tli, b := wd.restorable(); b != nil {
			wd.stats.count("server: restored from the quorum", 1)
			wd.adopt(nil, restored("restored", b, tli, seq))
		}
	default:
		wd.newWriter(s)
	}
}

// newTLI is what PostgreSQL takes when all history files are in its archive, or,
// now and then, when they are not: then two servers share a number.
func (wd *World) newTLI(s *server) wal.TLI {
	if wd.chance(8) {
		return s.tli.Last + 1
	}
	wd.lastTLI = max(wd.lastTLI, s.tli.Last) + 1
	return wd.lastTLI
}

// newSeq makes the records of another server, or another time, differ.
func (wd *World) newSeq() uint32 { return uint32(wd.nextWriter+2) * 1000 }

// adopt replaces a server, or adds one, and starts a writer for it.
func (wd *World) adopt(old, s *server) {
	wd.keep(old, s)
	wd.newWriter(s)
}

// keep replaces a server, or adds one.
func (wd *World) keep(old, s *server) {
	if i := slices.Index(wd.servers, old); i >= 0 {
		wd.servers[i] = s
	} else if len(wd.servers) < 4 {
		wd.servers = append(wd.servers, s)
	} else {
		wd.servers[wd.rng.IntN(len(wd.servers))] = s
	}
}

// restorable returns what a restored server begins with: the WAL of a node up
// to its commit position.
func (wd *World) restorable() (wal.TimelineHistory, []byte) {
	n := wd.nodes[wd.rng.IntN(len(wd.nodes))]
	if !n.up || n.acceptor.CommitLSN() <= wd.start || n.disk.view().flushed < wd.start {
		return wal.TimelineHistory{}, nil
	}
	c := n.acceptor.CommitLSN()
	return historyUpto(n.acceptor.State().TLIHistory, c), n.disk.view().upto(c)
}

// historyUpto is the history of a server whose WAL ends at c.
func historyUpto(h wal.TimelineHistory, c wal.LSN) wal.TimelineHistory {
	if i := slices.IndexFunc(h.Ancestors, func(e wal.HistoryEntry) bool { return e.Switch >= c }); i >= 0 {
		h, _ = h.Upto(h.Ancestors[i].TLI)
	}
	return h
}
