package pagestore

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/walhaven/walhaven/internal/monotonic"
	"github.com/walhaven/walhaven/wal"
)

// Timeline is one branch: what was put into it, and below its branch LSN what
// its parent holds. One goroutine puts; everything else may be called from any.
type Timeline struct {
	s      *Store
	id     wal.TimelineID
	dir    string
	parent *Timeline // nil without one
	// branchLSN is the last LSN that comes from the parent, start the first one
	// that can be read here.
	branchLSN, start wal.LSN

	current   atomic.Pointer[layerMap]
	last      atomic.Uint64 // LSN up to which everything has been put
	open      atomic.Uint64 // LSN of which a part was put, 0 without one; set by Put
	flushed   atomic.Uint64 // the index's
	cutoff    atomic.Uint64 // the index's
	nextLayer atomic.Uint64
	hurried   atomic.Int64 // when, as package monotonic has it, of the last layer that filled in a hurry
	// rewriteAfter is when, as package monotonic has it, garbage is looked for again.
	rewriteAfter atomic.Int64

	putMu    sync.Mutex // held by Put and whatever ends a memLayer
	covered  Value      // read last for an image; guarded by putMu
	mapMu    sync.Mutex // held to replace current
	flushing semaphore  // held by one flush
	merging  semaphore  // held by one compaction

	mu   sync.Mutex // held while the index is published, I/O included
	ix   *index     // what is on disk
	dead error      // why nothing is accepted any more; guarded by mu
	gone atomic.Bool
}

// semaphore is a mutex whose wait a context ends.
type semaphore chan struct{}

func (s semaphore) lock(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s semaphore) unlock() { <-s }

// newTimeline makes the timeline that x describes.
func (s *Store) newTimeline(x *index, dir string, parent *Timeline) *Timeline {
	t := &Timeline{
		s: s, id: x.Timeline, dir: dir, parent: parent, branchLSN: x.BranchLSN, start: x.Start, ix: x,
		flushing: make(semaphore, 1), merging: make(semaphore, 1),
	}
	t.last.Store(uint64(x.Flushed))
	t.flushed.Store(uint64(x.Flushed))
	t.cutoff.Store(uint64(x.Cutoff))
	t.nextLayer.Store(x.NextLayer)
	t.hurried.Store(monotonic.At(s.o.Now())) // There may be much to catch up with.
	t.rewriteAfter.Store(math.MinInt64)
	m := &layerMap{mems: []*memLayer{s.mems.layer(x.Flushed, s.o.Now())}, cutoff: x.Cutoff, pins: x.Pins}
	for i := range x.Runs {
		m.runs = append(m.runs, t.newRun(x.Runs[i]))
	}
	t.install(m, true)
	return t
}

// ID names the timeline.
func (t *Timeline) ID() wal.TimelineID { return t.id }

// Parent returns the parent and the branch LSN, nil and 0 without one.
func (t *Timeline) Parent() (*Timeline, wal.LSN) {
	if t.parent == nil {
		return nil, 0
	}
	return t.parent, t.branchLSN
}

// LastLSN is where the last batch ended: the highest LSN that can be read.
func (t *Timeline) LastLSN() wal.LSN { return wal.LSN(t.last.Load()) }

// FlushedLSN is the disk-consistent LSN: everything at or below it survives a
// crash. After one, put again from here.
func (t *Timeline) FlushedLSN() wal.LSN { return wal.LSN(t.flushed.Load()) }

// CutoffLSN is the published cutoff: LSNs below it are readable only where
// pinned. It waits for nothing, as every page request asks for it.
func (t *Timeline) CutoffLSN() wal.LSN { return wal.LSN(t.cutoff.Load()) }

// Err says why the timeline accepts nothing any more, nil while it does.
func (t *Timeline) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dead
}

// publish makes an edited copy of the index durable and then runs apply, which
// brings memory in line. Nothing changes when it fails, except that an unsure
// or fenced timeline accepts nothing any more.
func (t *Timeline) publish(edit func(x *index) error, apply func(x *index)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone.Load() {
		return ErrClosed
	}
	if t.dead != nil {
		return t.dead
	}
	next := t.ix.clone()
	if err := edit(next); err != nil {
		return err
	}
	next.Generation, next.Sequence, next.NextLayer = t.s.generation, t.ix.Sequence+1, t.nextLayer.Load()
	if err := next.validate(); err != nil {
		return fmt.Errorf("index of timeline %s would be invalid: %w", t.id, err)
	}
	unsure, err := t.s.disk.publishIndex(t.dir, next)
	if err != nil {
		err = fmt.Errorf("timeline %s: %w", t.id, err)
		if unsure {
			t.dead = deadBy(err)
		}
		return err
	}
	t.ix = next
	t.flushed.Store(uint64(next.Flushed))
	t.cutoff.Store(uint64(next.Cutoff))
	apply(next)
	return nil
}

// condemn makes the timeline refuse everything but reads.
func (t *Timeline) condemn(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead == nil {
		t.dead = deadBy(err)
	}
}

// close releases what the timeline holds; readers in progress go on.
func (t *Timeline) close() {
	t.putMu.Lock()
	defer t.putMu.Unlock()
	t.mapMu.Lock()
	defer t.mapMu.Unlock()
	t.gone.Store(true)
	if m := t.current.Swap(nil); m != nil {
		for _, mem := range m.mems {
			t.s.account(-mem.bytes())
		}
		t.release(m)
	}
}
