package sim

import (
	"bytes"
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// maxLearning bounds the members that learn from peers at once.
const maxLearning = 3

// learning is a member that takes over what a peer knows to be committed, as
// safekeepers do among themselves while no writer is heard. What it goes by is
// as old as its first step; each step sends its own acceptor one message.
type learning struct {
	own, peer *node
	life      *consensus.Acceptor // of own, when it began
	lesson    consensus.Lesson
	link      *link // known to own's acceptor only
	at        wal.LSN
	seen      wal.Term // of the peer, when it was looked at
	next      func(*World, *learning) (more bool)
}

func (n *node) look() consensus.Look {
	s := n.acceptor.State()
	return consensus.Look{
		Node: n.id, Incarnation: s.Incarnation, Joining: n.acceptor.Joining(), Config: s.Configuration, Term: s.Term,
		History: n.acceptor.History(), TLIHistory: s.TLIHistory,
		FlushLSN: n.acceptor.FlushLSN(), CommitLSN: n.acceptor.CommitLSN(), TruncateLSN: s.TruncateLSN,
	}
}

// learn begins to learn, or goes on with it.
func (wd *World) learn() {
	if len(wd.lessons) < maxLearning && wd.rng.IntN(3) == 0 {
		own, peer := wd.nodes[wd.rng.IntN(len(wd.nodes))], wd.nodes[wd.rng.IntN(len(wd.nodes))]
		if own == peer || !own.up || !peer.up {
			return
		}
		if l, ok := consensus.Learn(own.look(), peer.look()); ok {
			wd.stats.count("peers: begins to learn", 1)
			if wd.broken(c11, l.Term > 0 && wd.leaders[l.Term] == nil) {
				wd.fail("C11: node %d learns from node %d in term %d, which nobody won", own.id, peer.id, l.Term)
			}
			if wd.cfg.Break.LearnsFlushed {
				l.Upto = max(l.Upto, peer.acceptor.FlushLSN())
			}
			wd.nextConn++
			wd.lessons = append(wd.lessons, &learning{
				own: own, peer: peer, life: own.acceptor, lesson: l, seen: peer.acceptor.State().Term,
				link: &link{conn: wd.nextConn, n: own}, next: (*World).learnGreet,
			})
		}
		return
	}
	if len(wd.lessons) == 0 {
		return
	}
	i := wd.rng.IntN(len(wd.lessons))
	l := wd.lessons[i]
	if l.alive() && l.next(wd, l) && l.alive() {
		return
	}
	if l.alive() {
		l.own.acceptor.Disconnected(l.link.conn)
	}
	wd.lessons = slices.Delete(wd.lessons, i, i+1)
}

// alive says whether the acceptor that began still is.
func (l *learning) alive() bool { return l.own.up && l.own.acceptor == l.life }

// tell has the own acceptor handle a message.
func (wd *World) tell(l *learning, m pushwal.ProposerMessage) bool {
	e, err := l.life.Step(l.link.conn, m)
	if err != nil {
		wd.stats.count("peers: refused: "+cause(err), 1)
		return false
	}
	wd.checkStep(l.own, m, e)
	l.own.run(l.link, e, false)
	return l.alive()
}

func (wd *World) learnGreet(l *learning) bool {
	l.next = (*World).learnElected
	return wd.tell(l, &pushwal.ProposerGreeting{
		TTID: wd.ttid, SystemID: systemID, PGVersion: pgVersion, SegmentSize: segment,
		TLI: l.lesson.TLIHistory.Last, Instance: pushwal.Instance{0xff},
	})
}

func (wd *World) learnElected(l *learning) bool {
	l.next = (*World).learnBytes
	if l.at = l.lesson.Start; l.at == l.own.disk.view().start && l.own.disk.view().end() < l.at {
		l.at = base
	}
	return wd.tell(l, &pushwal.ProposerElected{
		Generation: l.life.State().Configuration.Generation, Term: l.lesson.Term, StartStreamingAt: l.at, History: l.lesson.History, TLIHistory: l.lesson.TLIHistory,
	})
}

// checkCopied is C10: a member copies WAL from a peer in many steps, by what it saw of the
// peer at first. Whatever becomes of the peer's terms meanwhile, all of it is committed.
func (wd *World) checkCopied(l *learning, b []byte) {
	wd.stats.count("peers: the other's term changed meanwhile", boolInt(l.peer.disk.view().state.Term != l.seen))
	from, to := int(l.at-base), int(l.at-base)+len(b)
	if wd.broken(c10, to > len(wd.committed) || !bytes.Equal(b, wd.committed[from:to])) {
		wd.fail("C10: node %d copies from node %d what is not committed behind %s", l.own.id, l.peer.id, l.at)
	}
}

// learnBytes takes over bytes that the peer has committed, as it has them now.
func (wd *World) learnBytes(l *learning) bool {
	if l.at < l.lesson.Upto && !l.peer.up {
		return false
	}
	end := min(l.lesson.Upto, l.at+1+wal.LSN(wd.rng.IntN(3000)))
	if stop, _, ok := l.lesson.TLIHistory.SwitchPoint(l.lesson.TLIHistory.TLIAt(l.at)); ok {
		end = min(end, stop)
	}
	end = max(end, l.at)
	m := &pushwal.AppendRequest{
		Generation: l.life.State().Configuration.Generation, Term: l.lesson.Term, Begin: l.at, End: end,
		CommitLSN: l.lesson.Commit, TLI: l.lesson.TLIHistory.TLIAt(l.at),
	}
	if end > l.at {
		if !wd.checkThere(l.peer, l.own, l.at) || l.peer.disk.view().end() < end {
			return false // Another data directory answers there by now, which has less.
		}
		m.WAL = slices.Clone(l.peer.disk.view().upto(end)[l.at-base:])
		wd.checkCopied(l, m.WAL)
	}
	m.CRC = pushwal.Checksum(m.WAL)
	l.at = end
	if !wd.tell(l, m) {
		return false
	}
	if len(m.WAL) == 0 {
		wd.stats.count("peers: learned", 1)
		return false
	}
	return true
}
