package sim

import (
	"fmt"
	"slices"

	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// scene is a course of events that random steps alone take too seldom to rely on:
// its acts one after the other, each until it is done. In between things go on at
// random, and may spoil it; an act that takes too long ends it.
type scene struct {
	acts     []act
	patience int // steps that the first of acts may still take
}

// act does one step and says whether it was the last.
type act func() (done bool)

const actPatience = 300

// tail is how long a tail is: written is what no quorum holds, at most what a writer
// keeps in memory, kept what the one node has of it.
func (wd *World) tail() (kept, written wal.LSN) {
	written = wal.LSN(min(wd.cfg.Queue, 12<<10))
	return written * 2 / 3, written
}

// play goes on with the scene.
func (wd *World) play() {
	s := wd.scene
	if s.patience--; s.patience < 0 {
		wd.stats.count(fmt.Sprintf("scene: given up, %d acts left", len(s.acts)), 1)
		wd.endScene()
		return
	}
	if !s.acts[0]() {
		return
	}
	if s.acts, s.patience = s.acts[1:], actPatience; len(s.acts) == 0 {
		wd.stats.count("scene: played", 1)
		wd.endScene()
	}
}

func (wd *World) endScene() {
	wd.scene, wd.victim = nil, nil
	clear(wd.cut)
}

// begin draws a scene, unless too few nodes are left for it.
func (wd *World) begin() {
	c := wd.cast()
	if c == nil {
		return
	}
	acts := []act{c.elected(&c.old, c.server, c.all()), c.writeTail}
	heir := []act{
		c.elected(&c.rival, c.nobody, c.with(c.told)), c.tellOne,
		c.elected(&c.heir, c.successor, c.with(c.tail)),
	}
	switch wd.rng.IntN(3) {
	case 0:
		acts = append(acts, append(heir, c.fill)...)
	case 1:
		acts = append(acts, append(heir, c.feed(3),
			c.elected(&c.third, c.made, c.others()), c.commitSome(&c.third, c.others()), c.feed(1))...)
	default:
		acts = append(acts, c.elected(&c.rival, c.made, c.with(c.told)), c.commitSome(&c.rival, c.with(c.told)), c.cutTail)
	}
	wd.scene = &scene{acts: acts, patience: actPatience}
}

// cast is who plays. A writer, old, leaves a long tail of WAL on one node alone.
// A rival is elected by the others in a later term. Then one of these:
//
//   - The rival ends when it has told one node of its election. The heir of old is
//     elected in a third term by the tail's node and the rest, and fills these
//     slowly: what a majority holds meanwhile may still be cut, for the node that
//     was told would win the next election.
//   - That election takes place meanwhile, and the tail is cut and overwritten. The
//     heir does not hear of it and goes on filling a laggard, from the tail's node.
//   - The rival commits WAL of its own and then meets the tail, which is cut. The
//     node crashes while it does that as often as not.
type cast struct {
	wd                      *World
	tail, told              *node
	rest                    []*node // a majority with either
	old, rival, heir, third *writer
	tries                   int
}

func (wd *World) cast() *cast {
	var nodes []*node
	for _, i := range wd.rng.Perm(len(wd.nodes)) {
		if n := wd.nodes[i]; !n.wiped {
			nodes = append(nodes, n)
		}
	}
	if k := len(wd.nodes)/2 + 2; len(nodes) >= k {
		return &cast{wd: wd, tail: nodes[0], told: nodes[1], rest: nodes[2:k]}
	}
	return nil
}

func (c *cast) with(n *node) []*node { return append([]*node{n}, c.rest...) }
func (c *cast) all() []*node         { return append(c.with(c.tail), c.told) }

// others are a majority without the laggard, which is the first of the rest.
func (c *cast) others() []*node { return append([]*node{c.tail, c.told}, c.rest[1:]...) }

// nobody is for whom a headless run is started.
func (c *cast) nobody([]*node) *server { return nil }

// server is one that may know all that the nodes hold, or, when that did not do, was
// made from it.
func (c *cast) server(with []*node) *server {
	if c.tries == 0 {
		return c.wd.servers[c.wd.rng.IntN(len(c.wd.servers))]
	}
	return c.made(with)
}

// made is a server that was made from what the nodes hold.
func (c *cast) made(with []*node) *server {
	wd, mask := c.wd, 0
	for _, n := range with {
		if n.up {
			n.sync()
		}
		mask |= 1 << (n.id - 1)
	}
	m, _ := wd.best(mask)
	end := max(m.flushed, wd.start)
	b := wd.origin.wal
	if m.end() >= end {
		b = m.upto(end)
	}
	s := restored("restored", b, historyUpto(m.state.TLIHistory, end), wd.newSeq())
	wd.keep(nil, s)
	return s
}

// successor is old's server again, a clone of it, or a headless run.
func (c *cast) successor(with []*node) *server {
	s := c.old.server
	switch c.wd.rng.IntN(4) {
	case 0:
		return nil
	case 1:
		return restored("clone", s.wal, s.tli, c.wd.newSeq())
	}
	return s
}

// elected starts a writer and has it elected by some nodes.
func (c *cast) elected(w **writer, server func([]*node) *server, with []*node) act {
	return func() bool {
		wd := c.wd
		if *w != nil && !(*w).dead {
			wd.further(*w, with)
			return (*w).election != nil
		}
		s := server(with)
		c.tries++
		for _, o := range wd.writers {
			if o != c.old && o != c.heir || o.server == s {
				o.kill()
			}
			for _, n := range wd.nodes {
				wd.cut[[2]int{o.id, int(n.id)}] = true
			}
		}
		*w = wd.newWriter(s)
		return false
	}
}

// writeTail has old write to one node alone.
func (c *cast) writeTail() bool {
	w, r := c.old, c.wd.rng
	if c.lost(w) {
		return false
	}
	start := w.election.Start
	kept, written := c.wd.tail()
	if c.tail.disk.view().flushed >= start+kept {
		if r.IntN(2) == 0 {
			w.kill()
		}
		return true
	}
	if w.server.end() < start+written {
		w.server.message(r.IntN(int(written) / 8))
		w.tap()
	}
	w.pump(c.tail.peer(), 1+r.IntN(4000))
	c.wd.further(w, []*node{c.tail})
	return false
}

// tellOne has the rival announce its election to one node, and end.
func (c *cast) tellOne() bool {
	w := c.rival
	if c.lost(w) {
		return false
	}
	if s := c.told.disk.view().state; s.Term == w.p.Term() && lastTerm(s.History) == w.p.Term() {
		w.kill()
		return true
	}
	c.wd.further(w, []*node{c.told})
	return false
}

// fill has the heir bring its followers to its start, in small steps.
func (c *cast) fill() bool {
	w := c.heir
	if c.lost(w) {
		return false
	}
	if w.commit >= w.election.Start {
		return true
	}
	for _, n := range c.with(c.tail) {
		if c.wd.rng.IntN(4) == 0 {
			c.pumpSome(w, n)
		}
	}
	c.wd.further(w, c.with(c.tail))
	return false
}

func (c *cast) pumpSome(w *writer, n *node) {
	kept, _ := c.wd.tail()
	w.pump(n.peer(), 1+c.wd.rng.IntN(int(kept)/10))
}

// commitSome has a writer write and commit behind its start.
func (c *cast) commitSome(who **writer, with []*node) act {
	return func() bool {
		w := *who
		if c.lost(w) {
			return false
		}
		enough := w.election.Start
		if w == c.third {
			enough += wal.LSN(c.wd.cfg.Queue / 2) // behind what the laggard has
		}
		if w.commit > enough {
			return true
		}
		if w.server.end() <= enough {
			w.server.message(c.wd.rng.IntN(600))
		}
		w.write()
		c.wd.further(w, with)
		return false
	}
}

// feed has the heir fill the laggard alone, one part of what it lacks. It may read
// from the tail's node, and says nothing to it.
func (c *cast) feed(part wal.LSN) act {
	return func() bool {
		w, n := c.heir, c.rest[0]
		if c.lost(w) {
			return false
		}
		for _, o := range c.wd.nodes {
			c.wd.cut[[2]int{w.id, int(o.id)}] = o != n && o != c.tail
		}
		switch x := c.wd.rng.IntN(8); {
		case x < 2:
			c.pumpSome(w, n)
		case x < 4 && n.up:
			n.sync()
		case x < 4:
			n.start()
		case x < 5:
			w.connect(n.peer())
		default:
			c.wd.deliverOf(w, n)
		}
		if !c.tail.up {
			c.tail.start()
		}
		kept, _ := c.wd.tail()
		return n.disk.view().flushed+kept*(part-1)/part >= w.election.Start
	}
}

// cutTail has the rival meet the tail.
func (c *cast) cutTail() bool {
	w := c.rival
	if c.lost(w) {
		return false
	}
	c.wd.victim = c.tail
	if s := c.tail.disk.view().state; c.tail.up && lastTerm(s.History) == w.p.Term() {
		return true
	}
	w.pump(c.tail.peer(), 1+c.wd.rng.IntN(4000))
	c.wd.further(w, c.all())
	return false
}

// lost says whether a writer has ended, and with it the scene.
func (c *cast) lost(w *writer) bool {
	if w.dead {
		c.wd.scene.patience = 0
	}
	return w.dead
}

// further does one thing that brings a writer on, with no other nodes than these.
func (wd *World) further(w *writer, with []*node) {
	for _, n := range wd.nodes {
		wd.cut[[2]int{w.id, int(n.id)}] = !slices.Contains(with, n)
	}
	n := with[wd.rng.IntN(len(with))]
	switch x := wd.rng.IntN(16); {
	case x < 10:
		wd.deliverOf(w, nil)
	case x < 13:
		if n.up {
			n.sync()
		} else {
			n.start()
		}
	case x < 14:
		w.prove()
	case x < 15:
		w.connect(n.peer())
	default:
		w.step(&consensus.Tick{})
	}
}
