package replication

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/internal/monotonic"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// ProposingOptions of a proposer's driver. The functions are called without a
// lock held, possibly by several goroutines at once, and must not block.
type ProposingOptions struct {
	Config consensus.ProposerConfig
	// Prove starts the comparison of the own WAL with the donor's; the answer is
	// given by Proved. Not needed for a headless run.
	Prove func(*consensus.ProofRequest)
	// Commit hears each advance of the commit position, before the peers do. A
	// call may be overtaken by a later one with a higher position.
	Commit func(wal.LSN)
	// Held hears how far a quorum has the bytes on disk, as consensus.ProposerEffects
	// says; calls overtake each other as those of Commit. May be nil.
	Held func(wal.LSN)
	// Members hears of a membership that came into force, or is wanted, so that its
	// nodes are connected to (AddPeer) and others are given up. May be nil.
	Members func(pushwal.Configuration)
	// AnnounceAtOnce tells the peers of each commit by a message of its own if need
	// be, for clients wait for what follows from it.
	AnnounceAtOnce bool
	// Metrics may be nil.
	Metrics *ProposingMetrics
}

// Proposing drives one proposer: it takes the events of its peers' connections
// in order and hands out what the consensus decides. It owns no goroutine and
// no connection; each connection is a Link, whose owner sends and receives.
type Proposing struct {
	o ProposingOptions

	mu     sync.Mutex
	p      *consensus.Proposer
	links  []*Link
	avail  consensus.Available // reused
	synced bool

	election atomic.Pointer[consensus.Election]
	elected  chan struct{}
	commit   atomic.Uint64
	truncate atomic.Uint64
	settled  chan struct{}
	done     chan struct{}
	err      error // why, once done is closed

	// announcing says that a commit waits to be announced to the peers; pending has
	// a token for Run when it begins to.
	announcing atomic.Bool
	pending    chan struct{}

	held      atomic.Int64 // when a quorum had more bytes last, as package monotonic has it; 0: never
	published Marks        // published and not yet committed
	acked     Marks        // acknowledged by the first peer and not yet committed
}

// NewProposing returns the driver of a new proposer.
func NewProposing(o ProposingOptions) *Proposing {
	return &Proposing{
		o: o, p: consensus.NewProposer(o.Config), links: make([]*Link, o.Config.Peers),
		elected: make(chan struct{}), settled: make(chan struct{}), done: make(chan struct{}), pending: make(chan struct{}, 1),
	}
}

// ID names the timeline.
func (d *Proposing) ID() wal.TTID { return d.o.Config.ID }

// Done is closed when the proposer has ended; Err says why then.
func (d *Proposing) Done() <-chan struct{} { return d.done }

// Err is why the proposer ended, a *consensus.Error; nil before.
func (d *Proposing) Err() error {
	select {
	case <-d.done:
		return d.err
	default:
		return nil
	}
}

// Elected is closed when the proposer has won its term.
func (d *Proposing) Elected() <-chan struct{} { return d.elected }

// Election is what the proposer was elected for, nil before.
func (d *Proposing) Election() *consensus.Election { return d.election.Load() }

// Settled is closed when a quorum has persisted a commit position at or above
// the start of the term.
func (d *Proposing) Settled() <-chan struct{} { return d.settled }

// CommitLSN is the newest committed position, 0 before the first.
func (d *Proposing) CommitLSN() wal.LSN { return wal.LSN(d.commit.Load()) }

// TruncateLSN is the position below which all members hold everything.
func (d *Proposing) TruncateLSN() wal.LSN { return wal.LSN(d.truncate.Load()) }

// Term is the term campaigned for or won, 0 before.
func (d *Proposing) Term() wal.Term {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.p.Term()
}

// Configuration is the membership that was learnt, empty until then.
func (d *Proposing) Configuration() pushwal.Configuration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.p.Configuration()
}

// Donor returns the peer that WAL from before this term can be fetched from,
// and how far it has this term's.
func (d *Proposing) Donor() (peer int, upto wal.LSN, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.p.Donor()
}

// Starve is consensus.Proposer's: who is not needed may wait.
func (d *Proposing) Starve(peer int) (needed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.p.Starve(peer)
}

// Available says that the own WAL reaches end. It has to be said before a peer
// can have got it.
func (d *Proposing) Available(end wal.LSN) {
	now := time.Now()
	d.mu.Lock()
	d.avail.End = end
	e, _ := d.p.Step(&d.avail)
	if d.election.Load() != nil {
		d.published.Add(end, now)
	}
	wake := d.take(&e)
	d.mu.Unlock()
	d.finish(&e, wake)
}

// Proved answers a proof request: nil when the own WAL holds the same bytes.
func (d *Proposing) Proved(term wal.Term, err error) {
	d.event(&consensus.Proved{Term: term, Err: err})
}

// AddPeer adds one more peer and returns its index.
func (d *Proposing) AddPeer() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.links = append(d.links, nil)
	return d.p.AddPeer()
}

// NodeOf is the node that was last met behind a peer, 0 = none yet.
func (d *Proposing) NodeOf(peer int) pushwal.NodeID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.p.NodeOf(peer)
}

// VoterOf is NodeOf for a peer whose node is a member that counts, 0 for others.
func (d *Proposing) VoterOf(peer int) pushwal.NodeID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.p.VoterOf(peer)
}

// Reconfigure passes an operator's wish on: c.Members instead of the members of
// generation c.Generation. Without office it is lost; repeat it.
func (d *Proposing) Reconfigure(c pushwal.Configuration) {
	d.event(&consensus.Reconfigure{Config: c})
}

// Tick passes time, about once a second.
func (d *Proposing) Tick() { d.event(&consensus.Tick{}) }

// Fail ends the proposer from outside.
func (d *Proposing) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail(err)
}

func (d *Proposing) fail(err error) {
	select {
	case <-d.done:
	default:
		d.err = err
		close(d.done)
	}
}

func (d *Proposing) event(ev consensus.Event) {
	d.mu.Lock()
	e, _ := d.p.Step(ev)
	wake := d.take(&e)
	d.mu.Unlock()
	d.finish(&e, wake)
}

// take executes under the lock what has an order: queueing messages, and the
// state that others read. It says whether the links have to be woken.
func (d *Proposing) take(e *consensus.ProposerEffects) (wake bool) {
	for _, s := range e.Send {
		if r, ok := s.Msg.(*pushwal.ConfigurationRequest); ok && !r.Config.Joint() && invariant.PointErr("proposing/members/final") != nil {
			continue // A test wants the joint configuration to last.
		}
		if l := d.links[s.Peer]; l != nil {
			l.out = append(l.out, s.Msg)
			wake = true
		}
	}
	if e.Elected != nil {
		d.election.Store(e.Elected)
		close(d.elected)
	}
	for i := range e.Stream {
		if l := d.links[e.Stream[i].Peer]; l != nil {
			l.start = &e.Stream[i]
			wake = true
		}
	}
	for _, drop := range e.Drop {
		if l := d.links[drop.Peer]; l != nil {
			l.drop(drop.Err)
			wake = true
		}
	}
	if e.Truncate != 0 {
		d.truncate.Store(uint64(e.Truncate))
	}
	if e.Commit != 0 {
		d.commit.Store(uint64(e.Commit))
	}
	if e.Synced && !d.synced {
		d.synced = true
		close(d.settled)
	}
	if e.Fatal != nil {
		d.fail(e.Fatal)
	}
	return wake
}

// finish does what needs no lock. PostgreSQL hears of a commit first, because a
// client waits for that.
func (d *Proposing) finish(e *consensus.ProposerEffects, wake bool) {
	if e.Commit != 0 && d.o.Commit != nil {
		invariant.Point("proposing/commit/before-report")
		d.o.Commit(e.Commit)
		invariant.Point("proposing/commit/before-announce")
	}
	var now time.Time
	if e.Held != 0 || e.Commit != 0 {
		now = time.Now()
	}
	if e.Held != 0 {
		d.held.Store(monotonic.At(now))
		if d.o.Held != nil {
			d.o.Held(e.Held)
		}
	}
	if wake {
		d.wakeLinks(false)
	}
	if e.Commit != 0 {
		if d.o.AnnounceAtOnce {
			d.wakeLinks(true)
		} else {
			d.announceSoon()
		}
		d.published.Reach(e.Commit, now, d.o.Metrics.observePublishToCommit)
		d.acked.Reach(e.Commit, now, d.o.Metrics.observeQuorumWait)
	}
	if e.Members != nil && d.o.Members != nil {
		d.o.Members(*e.Members)
	}
	if e.Prove != nil && d.o.Prove != nil {
		d.o.Prove(e.Prove)
	}
}

// wakeLinks has the links look for what they have to send, and announce the
// commit position.
func (d *Proposing) wakeLinks(announce bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.links {
		if l != nil {
			l.announce = l.announce || announce
			l.nudge()
		}
	}
}

// OldestUncommitted is how long the oldest published WAL has been waiting for
// the quorum, 0 when nothing waits. The quorum that is taking in a long record
// is not being waited for, and PostgreSQL is where it has taken all there is.
func (d *Proposing) OldestUncommitted() time.Duration {
	d.mu.Lock()
	all := d.p.Held()
	d.mu.Unlock()
	if all {
		return 0
	}
	oldest := d.published.Oldest()
	if held := d.held.Load(); held != 0 {
		oldest = min(oldest, monotonic.Since(held))
	}
	return oldest
}

// Run ticks once a second until the proposer ends or ctx is done, and returns
// why. It announces commits that no WAL has carried to the peers.
func (d *Proposing) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	var seen wal.LSN
	var after time.Duration
	for {
		select {
		case <-d.pending:
			seen, after = d.CommitLSN(), announceAfter
			quiet.Reset(after)
		case <-quiet.C:
			if now := d.CommitLSN(); now != seen {
				seen, after = now, min(2*after, announceWithin)
				quiet.Reset(after)
				continue
			}
			if invariant.PointErr("proposing/announce") == nil { // A test is about who else announces.
				d.announceNow()
			}
		case <-t.C:
			d.Tick()
		case <-d.done:
			return fmt.Errorf("proposer: %w", d.err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
