package shmqueue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// defaultPinGrace is how long the producer waits for a pin before it revokes
// the slot. The consumer is a whole ring behind by then, so a short time does.
const defaultPinGrace = 50 * time.Millisecond

// Options are the settings of a queue.
type Options struct {
	// Size in bytes, rounded up to a power of two.
	Size int
	// Start is the LSN of the first byte that will be written.
	Start wal.LSN
	// PinGrace is how long the producer waits for a pinned range before it
	// revokes the slot; 0 means 50 ms.
	PinGrace time.Duration
}

// Local is the queue between the goroutines of one process.
type Local struct {
	*window
	registry
	grace time.Duration
	// crc is of the bytes of the block that is being filled; the producer's own.
	crc uint32
	// ignorePins is the negative control of the tests.
	ignorePins bool

	released  atomic.Uint64
	needSpace atomic.Bool
	space     chan struct{}
	closed    chan struct{}
	closeOnce sync.Once
	revokes   atomic.Uint64
}

var _ Producer = (*Local)(nil)

// NewLocal makes an empty queue that begins at o.Start.
func NewLocal(o Options) (*Local, error) {
	w, err := newWindow(o.Size, o.Start)
	if err != nil {
		return nil, err
	}
	q := &Local{window: w, grace: o.PinGrace, space: make(chan struct{}, 1), closed: make(chan struct{})}
	if q.grace <= 0 {
		q.grace = defaultPinGrace
	}
	q.released.Store(uint64(o.Start))
	q.registry.init()
	return q, nil
}

var epoch = time.Now()

// Now is the clock of Frame.Published: monotonic, in nanoseconds.
func Now() int64 { return int64(time.Since(epoch)) }

// Size is the size of the ring in bytes.
func (q *Local) Size() int { return len(q.data) }

// Revocations counts the slots that were taken away.
func (q *Local) Revocations() uint64 { return q.revokes.Load() }

// Released is the position below which bytes may be overwritten.
func (q *Local) Released() wal.LSN { return wal.LSN(q.released.Load()) }

// Write implements Producer.
func (q *Local) Write(ctx context.Context, data []byte) error {
	piece := min(MaxFrame, len(q.data)/2)
	for len(data) > 0 {
		n := min(piece, len(data))
		head := q.Head()
		if err := q.makeSpace(ctx, head+wal.LSN(n)); err != nil {
			return err
		}
		q.put(head, data[:n])
		data = data[n:]
	}
	return nil
}

// put copies data, which fits, block by block and moves the head.
func (q *Local) put(at wal.LSN, data []byte) {
	now := Now()
	for len(data) > 0 {
		d := q.block(at)
		in := int(uint64(at) % BlockSize)
		if in == 0 {
			d.fill.Store(0)
			d.start.Store(uint64(at))
			q.crc = 0
		}
		part := data[:min(BlockSize-in, len(data))]
		q.crc = checksumMore(q.crc, part)
		copy(q.data[uint64(at)&q.mask:], part)
		at, data = at+wal.LSN(len(part)), data[len(part):]
		d.stamp.Store(now)
		d.fill.Store(packFill(int(uint64(at)-d.start.Load()), q.crc))
	}
	invariant.Point("shmqueue/publish/before")
	q.head.Store(uint64(at))
	invariant.Point("shmqueue/publish/after")
	q.wakeWaiting()
}

// makeSpace waits until everything up to end fits, and raises the floor. A
// block whose first byte is overwritten has lost its checksum, so the floor is
// always the start of a block.
func (q *Local) makeSpace(ctx context.Context, end wal.LSN) error {
	need := (end + BlockSize - 1) &^ (BlockSize - 1)
	if need <= q.Floor()+q.window.size() {
		return q.alive()
	}
	floor := need - q.window.size()
	if err := q.wait(ctx, func() bool { return q.Released() >= floor }, nil); err != nil {
		return err
	}
	old := q.Floor()
	q.floor.Store(uint64(floor))
	invariant.Point("shmqueue/floor/raised")
	if !q.ignorePins {
		free := func() bool { return q.lowestPin() >= uint64(floor) }
		if err := q.wait(ctx, free, func() { q.revokes.Add(uint64(q.revokeBelow(floor))) }); err != nil {
			return err
		}
	}
	if invariant.Enabled {
		a, b := q.slices(wal.Range{Start: old, End: floor})
		invariant.Poison(a)
		invariant.Poison(b)
	}
	return nil
}

func (q *Local) alive() error {
	select {
	case <-q.closed:
		return ErrClosed
	default:
		return nil
	}
}

// wait blocks until ready; after the grace it calls late once.
func (q *Local) wait(ctx context.Context, ready func() bool, late func()) error {
	if ready() {
		return q.alive()
	}
	q.needSpace.Store(true)
	defer q.needSpace.Store(false)
	var timeout <-chan time.Time
	if late != nil {
		t := time.NewTimer(q.grace)
		defer t.Stop()
		timeout = t.C
	}
	for !ready() {
		select {
		case <-q.space:
		case <-timeout:
			late()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-q.closed:
			return ErrClosed
		}
	}
	return nil
}

// freed tells a waiting producer to look again.
func (q *Local) freed() {
	if q.needSpace.Load() {
		signal(q.space)
	}
}

// Release implements Producer.
func (q *Local) Release(upto wal.LSN) {
	for {
		old := q.released.Load()
		if uint64(upto) <= old {
			return
		}
		if q.released.CompareAndSwap(old, uint64(upto)) {
			q.freed()
			return
		}
	}
}

// Close implements Producer.
func (q *Local) Close() {
	q.closeOnce.Do(func() { close(q.closed) })
	q.waiting.Store(^uint64(0))
	q.wakeWaiting()
}
