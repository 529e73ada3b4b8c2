package replication

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// Log is the WAL of one timeline on disk, implemented by *walstore.Store, whose
// documentation holds.
type Log interface {
	Control() walstore.Control
	SaveControl(edit func(*walstore.Control)) error
	Positions() walstore.Positions
	Append(tli wal.TLI, at wal.LSN, data []byte) error
	Sync() error
	Truncate(to wal.LSN, h wal.TimelineHistory) error
	SynthesizePrefix() error
	ReadAt(p []byte, at wal.LSN) (int, error)
	Lend(at wal.LSN, n int) (walstore.Lent, bool)
	Oldest() wal.LSN
	OldestRecord() wal.LSN
}

// AcceptingOptions of an acceptor's driver.
type AcceptingOptions struct {
	NodeID  pushwal.NodeID
	Log     Log
	Logger  *slog.Logger      // nil: nothing is logged
	Metrics *AcceptingMetrics // nil: nothing is counted
}

// Accepting drives the acceptor of one timeline: it takes the messages of
// proposers' connections, executes what the consensus decides, disk first, and
// tells those who wait how far WAL is committed. It implements sender.Source.
//
// One lock orders the steps of the state machine and the writes that they ask
// for. Syncs run outside of it, so that those of several connections become one
// in the log; answers are queued under it, in order, and sent outside of it.
type Accepting struct {
	node        pushwal.NodeID
	log         Log
	logger      *slog.Logger
	metrics     *AcceptingMetrics
	segmentSize wal.SegmentSize

	mu       sync.Mutex
	acceptor *consensus.Acceptor
	sessions map[consensus.ConnID]*pushSession
	lastConn consensus.ConnID
	closed   error // why no session may begin any more
	presence presence
	// cuts counts what makes a read of uncommitted WAL stale: truncations and
	// rebuilt acceptors.
	cuts    uint64
	hot     hot
	running sync.WaitGroup // sessions

	// Copies of the acceptor's positions for those who wait without the lock.
	commit  watermark
	flush   watermark
	flushed flushLog
	term    atomic.Uint64
	history atomic.Pointer[wal.TimelineHistory]
	standby atomic.Pointer[pushwal.HotStandbyFeedback]
}

// NewAccepting restores the acceptor from the log's control file. The caller
// keeps the log and closes it after Close. An acceptor whose committed WAL is
// missing is returned all the same and refuses proposers; see Status.Err.
func NewAccepting(o AcceptingOptions) (*Accepting, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewAcceptingMetrics(nil)
	}
	a := &Accepting{
		node: o.NodeID, log: o.Log, logger: o.Logger, metrics: o.Metrics,
		sessions: make(map[consensus.ConnID]*pushSession), presence: presence{began: time.Now()},
	}
	if err := a.restore(); err != nil {
		return nil, err
	}
	if err := a.acceptor.Err(); err != nil {
		a.logger.Error("timeline accepts nothing: committed WAL is missing", "error", err)
	}
	return a, nil
}

// restore builds the acceptor from what the log says, at the start and after a
// failure that left the old one ahead of the disk.
func (a *Accepting) restore() error {
	control := a.log.Control()
	var state consensus.State
	if err := state.UnmarshalBinary(control.State); err != nil {
		return fmt.Errorf("restore acceptor of timeline %s: %w", control.ID, err)
	}
	p := a.log.Positions()
	a.acceptor = consensus.NewAcceptor(a.node, state, consensus.Positions{Write: p.Write, FlushRecord: p.FlushRecord})
	a.segmentSize = control.SegmentSize
	a.history.Store(&state.TLIHistory)
	a.cuts++
	a.hot.drop()
	a.publish()
	return nil
}

// publish copies the acceptor's positions to where they are read without the
// lock, and wakes those who wait for them.
func (a *Accepting) publish() {
	// A rebuilt acceptor may know less than was published, and what is committed
	// stays committed. One that lost WAL knows more than it holds.
	a.commit.raise(min(a.acceptor.CommitLSN(), a.acceptor.FlushLSN()))
	term := uint64(a.acceptor.State().Term)
	before := a.flush.load()
	moved := a.flush.set(a.acceptor.FlushLSN())
	switch after := a.flush.load(); {
	case after > before:
		a.flushed.add(after, time.Now())
	case after < before:
		a.flushed.cut(after)
	}
	if a.term.Swap(term) != term || moved {
		a.flush.wake()
	}
}

// CommitLSN is the newest position known to be committed and durable here.
func (a *Accepting) CommitLSN() wal.LSN { return a.commit.load() }

// FlushLSN is the end of the last whole durable record.
func (a *Accepting) FlushLSN() wal.LSN { return a.flush.load() }

// Term is the highest term voted for or followed.
func (a *Accepting) Term() wal.Term { return wal.Term(a.term.Load()) }

// SegmentSize of the timeline.
func (a *Accepting) SegmentSize() wal.SegmentSize { return a.segmentSize }

// Oldest is the first position that can be read.
func (a *Accepting) Oldest() wal.LSN { return a.log.Oldest() }

// History is the PostgreSQL history; a timeline whose first byte is not yet
// committed is not part of it.
func (a *Accepting) History() wal.TimelineHistory {
	return committedHistory(*a.history.Load(), a.CommitLSN())
}

// committedHistory is h without the timelines of which no byte is committed: the
// election that began them may yet lose to another.
func committedHistory(h wal.TimelineHistory, commit wal.LSN) wal.TimelineHistory {
	for n := len(h.Ancestors); n > 0 && h.Ancestors[n-1].Switch >= commit; n = len(h.Ancestors) {
		h, _ = h.Upto(h.Ancestors[n-1].TLI)
	}
	return h
}

// Report raises what pageservers made durable in the object store and what was
// uploaded; zero leaves one alone.
func (a *Accepting) Report(remoteConsistent, backup wal.LSN) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acceptor.Report(remoteConsistent, backup)
}

// SetHotStandby sets what AppendResponses say of standbys from now on.
func (a *Accepting) SetHotStandby(f pushwal.HotStandbyFeedback) { a.standby.Store(&f) }

// Checkpoint persists positions that moved since the last save.
func (a *Accepting) Checkpoint() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hot.rest()
	state := a.acceptor.Checkpoint()
	if state == nil {
		return nil
	}
	if err := a.save(state); err != nil {
		a.acceptor.CheckpointFailed()
		return fmt.Errorf("persist positions: %w", err)
	}
	return nil
}

var errClosing = errors.New("safekeeper is shutting down")

// Close ends all sessions with cause, waits for them, and persists positions.
func (a *Accepting) Close(cause error) error {
	if cause == nil {
		cause = errClosing
	}
	a.mu.Lock()
	if a.closed == nil {
		a.closed = cause
	}
	for _, s := range a.sessions {
		s.stream.Abort(cause)
	}
	a.mu.Unlock()
	a.running.Wait()
	return a.Checkpoint()
}
