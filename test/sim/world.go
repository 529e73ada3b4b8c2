package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Config says what a run is like. Random fills it from a seed.
type Config struct {
	Seed     uint64
	Nodes    int  // 3 or 5
	Steps    int  // random steps; the convergence at the end comes on top
	Store    bool // the real walstore instead of the model alone
	Switches bool // servers switch segments now and then
	MaxWAL   int  // bytes that a server writes at most
	Queue    int  // bytes that a writer keeps in memory; older ones come from a donor
	Crash    int  // one in so many effects is followed by a crash, 0 = none
	Disorder int  // one in so many messages is reordered or duplicated, 0 = none
	Disk     int  // one in so many syncs and appends finds the disk failing or full, 0 = none
	Wipe     bool // a minority of nodes may lose its data directory
	Spares   int  // nodes besides that may become members; 0 = the membership stays as it is
	Scenes   int  // one in so many steps begins a scene, 0 = none
	Strife   int  // how often writers come, go and lose sight of nodes: 1 is seldom
	Break    Break
}

// Break switches off protections of the drivers, for negative controls.
type Break struct {
	VoteNotSaved            bool // a vote is sent without its term being persisted
	HistoryBeforeTruncation bool // the control file is written before the log is cut
	AckBeforeSync           bool // WAL is acknowledged before it is durable
	AckDuringSync           bool // what came during a sync is acknowledged with it
	NoProof                 bool // only the length of the server's WAL is looked at
	QuorumOfOne             bool // the proposer is told of one member only
	JoiningCounts           bool // a wiped node comes back as if nothing had happened
	OldTermCommit           bool // WAL of older terms is committed by counting copies
	AnyTermRead             bool // a donor gives WAL to a proposer whose term it is not in
	LearnsFlushed           bool // a member takes from a peer what that has, committed or not
	RemovesFlushed          bool // a node removes what it has on disk, whoever lacks it
	SegmentsUnsynced        bool // a segment gets its name before its file is on disk
	CreatedInPlace          bool // a timeline's folder is made under its own name
	ProposedInForce         bool // members take what a peer has accepted for what is in force
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
	if r.IntN(3) == 0 {
		c.Disk = 20 + r.IntN(200)
	}
	if r.IntN(3) > 0 {
		c.Scenes = 50 + r.IntN(400)
	}
	c.Queue = 1<<10 + r.IntN(40<<10)
	if r.IntN(25) == 0 {
		c.Switches, c.MaxWAL, c.Queue = true, 3<<20, 1<<20
	}
	return c
}

// RandomMembers returns the configuration of a seed for a run in which operators
// change the membership.
func RandomMembers(seed uint64) Config {
	r := rand.New(rand.NewPCG(seed, 0x3e3b))
	c := Random(seed)
	c.Nodes, c.Spares, c.Steps, c.Strife = 3, 1+r.IntN(3), 800+r.IntN(1600), 1+r.IntN(2)
	c.Wipe = r.IntN(2) == 0
	c.Switches, c.MaxWAL, c.Scenes = false, 30<<10, 0
	return c
}

// World is one run.
type World struct {
	cfg    Config
	rng    *rand.Rand
	dice   *rand.Rand // of retention
	stats  Stats
	ttid   wal.TTID
	start  wal.LSN
	origin *server

	nodes   []*node
	writers []*writer // alive
	links   []*link
	cut     map[[2]int]bool // writer, node: no message passes
	servers []*server       // that a writer can be started for
	lessons []*learning
	scene   *scene
	nervous *node // crashes more often than the others, while it is cut
	victim  *node // that a scene has cut soon

	operators []*operator
	wishes    []pushwal.Configuration // of all operators, ever
	// configs are those that came into force, by generation.
	configs map[pushwal.Generation]pushwal.Configuration
	newest  pushwal.Generation

	nextConn   consensus.ConnID
	nextWriter int
	lastTLI    wal.TLI
	calm       bool // no more faults

	leaders   map[wal.Term]*writer
	starts    map[wal.Term]wal.LSN
	committed []byte             // everything that was acknowledged to anyone
	commits   []wal.LSN          // where that ended at times
	scan      *walrecord.Scanner // of that
	// committedAt is where that ended when a generation came into force.
	committedAt map[pushwal.Generation]wal.LSN
	checks      [statements]int
	states      map[uint64]struct{} // that were met, as hashes
	step        int
	err         error
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
	stats, _, err := run(cfg)
	return stats, err
}

// run returns the states that were met as well.
func run(cfg Config) (Stats, map[uint64]struct{}, error) {
	wd := newWorld(cfg)
	defer wd.close()
	for wd.step = 1; wd.step <= cfg.Steps && wd.err == nil; wd.step++ {
		wd.next()
		wd.checkQuorums()
		wd.seeTheState()
	}
	if wd.err == nil && cfg.Break == (Break{}) {
		wd.converge()
	}
	wd.report()
	return wd.stats, wd.states, wd.err
}

func newWorld(cfg Config) *World {
	wd := &World{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), dice: rand.New(rand.NewPCG(cfg.Seed, 2)), stats: Stats{},
		ttid:   wal.TTID{Tenant: wal.TenantID{1}, Timeline: wal.TimelineID{2}},
		states: map[uint64]struct{}{}, cut: map[[2]int]bool{}, leaders: map[wal.Term]*writer{}, starts: map[wal.Term]wal.LSN{},
		configs:     map[pushwal.Generation]pushwal.Configuration{},
		committedAt: map[pushwal.Generation]wal.LSN{}, scan: newScanner(wal.TimelineHistory{}),
	}
	s := newServer("origin", 1)
	for range 5 + wd.rng.IntN(60) {
		s.message(wd.rng.IntN(400))
	}
	wd.origin = restored("origin", s.wal, s.tli, 100)
	wd.start = s.end()
	wd.committed = s.wal
	if err := wd.scan.Feed(base, s.wal); err != nil {
		panic(fmt.Sprintf("sim: WAL of the origin cannot be read: %v", err))
	}
	wd.servers = []*server{restored("first", s.wal, s.tli, 1000)}
	for id := 1; id <= cfg.Nodes; id++ {
		n := &node{wd: wd, id: pushwal.NodeID(id)}
		n.disk = wd.newDisk(wd.founding(n.id))
		wd.nodes = append(wd.nodes, n)
		n.start()
	}
	for id := range cfg.Spares {
		wd.nodes = append(wd.nodes, &node{wd: wd, id: pushwal.NodeID(cfg.Nodes + 1 + id)})
	}
	wd.inForce(wd.founding(1).Configuration)
	return wd
}

func (wd *World) close() {
	for _, n := range wd.nodes {
		if n.disk != nil {
			n.disk.close()
		}
	}
}

func (wd *World) newDisk(s consensus.State) disk {
	if !wd.cfg.Store {
		return newModel(s)
	}
	l, err := wd.newStoreLog(s)
	if isViolation(err) {
		wd.failErr(err)
		return newModel(s)
	}
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
	if !wd.chance(wd.cfg.Crash*4) && !(n == wd.nervous && wd.chance(3)) {
		return false
	}
	wd.stats.count("node: crash between effects", 1)
	n.crash()
	return true
}

func (wd *World) fail(format string, args ...any) {
	wd.failErr(violation(format, args...))
}

func (wd *World) failErr(err error) {
	if wd.err != nil {
		return
	}
	what := err.Error()
	if v := (*Violation)(nil); errors.As(err, &v) {
		what = v.What // said by a check, which knows neither seed nor step
	}
	wd.err = &Violation{Config: wd.cfg, Step: wd.step, What: what}
}
