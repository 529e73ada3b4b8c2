package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// Config says what a run is like. Random fills it from a seed.
type Config struct {
	Seed     uint64
	Nodes    int  // 3 or 5
	Steps    int  // random steps; the convergence at the end comes on top
	Store    bool // the real walstore instead of the model alone
	Switches bool // servers switch segments now and then
	MaxWAL   int  // bytes that a server writes at most
	Crash    int  // one in so many effects is followed by a crash, 0 = none
	Disorder int  // one in so many messages is reordered or duplicated, 0 = none
	Wipe     bool // a minority of nodes may lose its data directory
	Strife   int  // how often writers come, go and lose sight of nodes: 1 is seldom
	Break    Break
}

// Break switches off protections of the drivers, for negative controls.
type Break struct {
	VoteNotSaved            bool // a vote is sent without its term being persisted
	HistoryBeforeTruncation bool // the control file is written before the log is cut
	AckBeforeSync           bool // WAL is acknowledged before it is durable
	NoProof                 bool // only the length of the server's WAL is looked at
	QuorumOfOne             bool // the proposer is told of one member only
	JoiningCounts           bool // a wiped node comes back as if nothing had happened
	OldTermCommit           bool // WAL of older terms is committed by counting copies
}

// Random returns the configuration of a seed.
func Random(seed uint64) Config {
	r := rand.New(rand.NewPCG(seed, 0xc0ff))
	c := Config{Seed: seed, Nodes: 3, Steps: 500 + r.IntN(1000), MaxWAL: 60 << 10, Crash: 20 + r.IntN(400), Wipe: r.IntN(3) == 0}
	if r.IntN(4) == 0 {
		c.Nodes = 5
	}
	c.Strife = 1 + r.IntN(6)
	if r.IntN(2) == 0 {
		c.Disorder = 10 + r.IntN(60)
	}
	if r.IntN(25) == 0 {
		c.Switches, c.MaxWAL = true, 3<<20
	}
	return c
}

// World is one run.
type World struct {
	cfg    Config
	rng    *rand.Rand
	stats  Stats
	ttid   wal.TTID
	start  wal.LSN
	origin *server

	nodes   []*node
	writers []*writer // alive
	links   []*link
	cut     map[[2]int]bool // writer, node: no message passes
	servers []*server       // that a writer can be started for

	nextConn   consensus.ConnID
	nextWriter int
	lastTLI    wal.TLI
	calm       bool // no more faults

	leaders   map[wal.Term]*writer
	starts    map[wal.Term]wal.LSN
	committed []byte // everything that was acknowledged to anyone
	step      int
	err       error
}

// Violation is a broken invariant, or anything else that must not happen.
type Violation struct {
	Config Config
	Step   int
	What   string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("seed %d, step %d: %s", v.Config.Seed, v.Step, v.What)
}

func violation(format string, args ...any) error {
	return &Violation{What: fmt.Sprintf(format, args...)}
}

func isViolation(err error) bool {
	var v *Violation
	return errors.As(err, &v)
}

// Run runs one schedule.
func Run(cfg Config) (Stats, error) {
	wd := newWorld(cfg)
	defer wd.close()
	for wd.step = 1; wd.step <= cfg.Steps && wd.err == nil; wd.step++ {
		wd.next()
		wd.checkQuorums()
	}
	if wd.err == nil && cfg.Break == (Break{}) {
		wd.converge()
	}
	return wd.stats, wd.err
}

func newWorld(cfg Config) *World {
	wd := &World{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), stats: Stats{},
		ttid: wal.TTID{Tenant: wal.TenantID{1}, Timeline: wal.TimelineID{2}},
		cut:  map[[2]int]bool{}, leaders: map[wal.Term]*writer{}, starts: map[wal.Term]wal.LSN{},
	}
	s := newServer("origin", 1)
	for range 5 + wd.rng.IntN(60) {
		s.message(wd.rng.IntN(400))
	}
	wd.origin = restored("origin", s.wal, s.tli, 100)
	wd.start = s.end()
	wd.committed = s.wal
	wd.servers = []*server{restored("first", s.wal, s.tli, 1000)}
	for id := 1; id <= cfg.Nodes; id++ {
		n := &node{wd: wd, id: pushwal.NodeID(id)}
		n.disk = wd.newDisk(wd.founding(n.id))
		wd.nodes = append(wd.nodes, n)
		n.start()
	}
	return wd
}

func (wd *World) close() {
	for _, n := range wd.nodes {
		n.disk.close()
	}
}

func (wd *World) newDisk(s consensus.State) disk {
	if !wd.cfg.Store {
		return newModel(s)
	}
	l, err := newStoreLog(s)
	if err != nil {
		panic(fmt.Sprintf("sim: make a store: %v", err))
	}
	return l
}

// founding is the state that the timeline is founded with on a node.
func (wd *World) founding(id pushwal.NodeID) consensus.State {
	c := pushwal.Configuration{Generation: 1}
	for i := 1; i <= wd.cfg.Nodes; i++ {
		c.Members = append(c.Members, pushwal.Member{ID: pushwal.NodeID(i), Host: "n", Port: 1, Incarnation: pushwal.Incarnation{byte(i)}})
	}
	return consensus.Founding(consensus.State{
		ID: wd.ttid, SystemID: systemID, PGVersion: pgVersion, SegmentSize: segment, Start: wd.start,
		Incarnation: pushwal.Incarnation{byte(id)}, Configuration: c,
	})
}

// chance is true once in n times, never for 0.
func (wd *World) chance(n int) bool { return n > 0 && !wd.calm && wd.rng.IntN(n) == 0 }

// crashes says whether a node crashes here, and has it done so.
func (wd *World) crashes(n *node) bool {
	if wd.err != nil {
		return true
	}
	if !wd.chance(wd.cfg.Crash * 4) {
		return false
	}
	wd.stats.count("node: crash between effects", 1)
	n.crash()
	return true
}

// next does one random step.
func (wd *World) next() {
	r := wd.rng
	switch x := r.IntN(1000 + 10*wd.cfg.Strife); {
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
		}
	case x < 870:
		if w := wd.writer(); w != nil {
			w.prove()
		}
	case x < 890:
		if w := wd.writer(); w != nil {
			w.step(&consensus.Tick{})
		}
	case x < 930:
		if w := wd.writer(); w != nil {
			w.connect(r.IntN(len(wd.nodes)))
		}
	case x < 960:
		if n := wd.nodes[r.IntN(len(wd.nodes))]; !n.up {
			n.start()
		}
	default:
		wd.disturb(x - 960)
	}
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
			if s := n.acceptor.Checkpoint(); s != nil {
				if err := n.disk.save(*s); err != nil {
					wd.failErr(err)
				}
			}
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
	seq := uint32(wd.nextWriter+2) * 1000
	switch r.IntN(8) {
	case 0:
		wd.stats.count("server: lost its latest records", 1)
		wd.adopt(s, s.torn(r, seq))
	case 1:
		wd.stats.count("server: wrote alone", 1)
		for range 1 + r.IntN(3) {
			s.message(r.IntN(200))
		}
		wd.newWriter(s)
	case 2:
		wd.stats.count("server: promoted", 1)
		wd.adopt(nil, promoted("promoted", s, wd.newTLI(s), seq))
	case 3, 4:
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

// adopt replaces a server, or adds one, and starts a writer for it.
func (wd *World) adopt(old, s *server) {
	if i := slices.Index(wd.servers, old); i >= 0 {
		wd.servers[i] = s
	} else if len(wd.servers) < 4 {
		wd.servers = append(wd.servers, s)
	} else {
		wd.servers[wd.rng.IntN(len(wd.servers))] = s
	}
	wd.newWriter(s)
}

// restorable returns what a restored server begins with: the WAL of a node up
// to its commit position.
func (wd *World) restorable() (wal.TimelineHistory, []byte) {
	n := wd.nodes[wd.rng.IntN(len(wd.nodes))]
	if !n.up || n.acceptor.CommitLSN() <= wd.start {
		return wal.TimelineHistory{}, nil
	}
	h := n.acceptor.State().TLIHistory
	c := n.acceptor.CommitLSN()
	if i := slices.IndexFunc(h.Ancestors, func(e wal.HistoryEntry) bool { return e.Switch >= c }); i >= 0 {
		h, _ = h.Upto(h.Ancestors[i].TLI)
	}
	return h, n.disk.view().upto(c)
}

// converge ends all faults, with as many nodes down as a quorum can spare: a
// headless run must then be elected, have a quorum persist the end, and bring
// every node there that is up and can count.
func (wd *World) converge() {
	wd.calm = true
	for _, w := range wd.writers {
		w.kill()
	}
	wd.writers, wd.links, wd.cut = nil, nil, map[[2]int]bool{}
	spare := (len(wd.nodes)-1)/2 - wd.wiped()
	for _, i := range wd.rng.Perm(len(wd.nodes)) {
		n := wd.nodes[i]
		if n.up {
			n.crash()
		}
		if spare > 0 && !n.wiped && wd.rng.IntN(2) == 0 {
			spare--
			continue
		}
		n.start()
	}
	w := wd.newWriter(nil)
	for i := 0; i < 4000 && wd.err == nil && !wd.settled(w); i++ {
		wd.deliver()
		if i < 100 && i%9 == 8 && len(wd.links) > 0 { // answers get lost with their connections
			wd.breakLink(wd.links[wd.rng.IntN(len(wd.links))], wd.rng.IntN(2) == 0)
			wd.sweep()
		}
		switch i % 5 {
		case 0:
			for _, n := range wd.nodes {
				if n.up {
					n.sync()
				}
			}
		case 2:
			w.write()
		case 4:
			for p := range wd.nodes {
				w.connect(p)
			}
			w.step(&consensus.Tick{})
			if w.dead {
				w = wd.newWriter(nil)
			}
		}
	}
	if wd.err == nil && !wd.settled(w) {
		wd.fail("no convergence: elected %t, synced %t", w.election != nil, w.synced)
	}
}

func (wd *World) settled(w *writer) bool {
	if w.election == nil || !w.synced {
		return false
	}
	for _, n := range wd.nodes {
		if n.up && !n.wiped && n.acceptor.CommitLSN() < w.election.Start && !contradicts(n.acceptor.State().TLIHistory, w.election.TLIHistory) {
			return false
		}
	}
	return true
}

// contradicts says whether two servers were promoted to one number, so that a
// node that heard of the first refuses the second, for good.
func contradicts(a, b wal.TimelineHistory) bool {
	for _, e := range append(slices.Clone(a.Ancestors), wal.HistoryEntry{TLI: a.Last}) {
		x, _ := a.Begin(e.TLI)
		if y, ok := b.Begin(e.TLI); ok && x != y {
			return true
		}
	}
	return false
}

func (wd *World) fail(format string, args ...any) {
	wd.failErr(violation(format, args...))
}

func (wd *World) failErr(err error) {
	if wd.err == nil {
		wd.err = &Violation{Config: wd.cfg, Step: wd.step, What: err.Error()}
	}
}
