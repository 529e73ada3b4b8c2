package shmqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// lookAgain is how often a producer that waits looks whether it has to, should
// a wake-up be lost.
const lookAgain = 250 * time.Millisecond

// writer is the producer's side of a window, in whatever memory that lies.
type writer struct {
	w *window
	registry
	grace time.Duration
	// anew makes a slot's words anew for a consumer of this process; nil if they
	// never lie in memory of others.
	anew func(i uint32) error
	// head and floor are what the window's words say; those are never read back.
	head, floor atomic.Uint64
	// crc is of the bytes of the block that is being filled.
	crc uint32
	// reserved bytes may be published.
	reserved int
	// ignorePins is the negative control of the tests.
	ignorePins bool

	released  atomic.Uint64
	space     chan struct{}
	closed    chan struct{}
	closeOnce sync.Once
	revokes   atomic.Uint64
	timer     *time.Timer // of wait
}

func (q *writer) init(w *window, words func(i int) *slotWords, o Options) {
	q.w, q.grace, q.onRevoke = w, o.PinGrace, o.OnRevoke
	if q.grace <= 0 {
		q.grace = defaultPinGrace
	}
	q.space, q.closed = make(chan struct{}, 1), make(chan struct{})
	q.timer = time.NewTimer(time.Hour)
	q.timer.Stop()
	q.registry.init(words, w.table)
	q.head.Store(uint64(o.Start))
	q.floor.Store(uint64(o.Start))
	q.released.Store(uint64(o.Start))
	q.open(o.Start)
	w.floor.Store(uint64(o.Start))
	w.head.Store(uint64(o.Start))
}

// Head implements Producer.
func (q *writer) Head() wal.LSN { return wal.LSN(q.head.Load()) }

// Floor implements Producer.
func (q *writer) Floor() wal.LSN { return wal.LSN(q.floor.Load()) }

// Size is the size of the ring in bytes.
func (q *writer) Size() int { return len(q.w.data) }

// Revocations counts the slots that were taken away.
func (q *writer) Revocations() uint64 { return q.revokes.Load() }

// Released is the position below which bytes may be overwritten.
func (q *writer) Released() wal.LSN { return wal.LSN(q.released.Load()) }

// Register implements Producer. Any goroutine may call it. The consumer is one
// of this process.
func (q *writer) Register() (Consumer, error) {
	id, s, err := q.take(func(id SlotID, s *slot) error {
		if q.anew != nil {
			if err := q.anew(id.Index); err != nil {
				return err
			}
		}
		s.words.pin.Store(noPin)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &consumer{
		w: q.w, words: s.words, line: s.line, id: id, wake: s.wake, revoked: s.revoked,
		freed: q.freed, close: func() { q.give(id); q.freed() },
	}, nil
}

// Write implements Producer.
func (q *writer) Write(ctx context.Context, data []byte) error {
	piece := min(MaxFrame, len(q.w.data)/2)
	for len(data) > 0 {
		n := min(piece, len(data))
		head := q.Head()
		if err := q.makeSpace(ctx, head+wal.LSN(n)); err != nil {
			return err
		}
		q.publish(q.put(head, data[:n]))
		data = data[n:]
	}
	return nil
}

// Reserve waits until n bytes, at most MaxFrame and half the ring, fit behind
// the head, and returns where they will lie, to be read from a socket. Publish
// takes as many of them as there are then.
func (q *writer) Reserve(ctx context.Context, n int) (parts [2][]byte, err error) {
	if n < 0 || n > min(MaxFrame, len(q.w.data)/2) {
		return parts, fmt.Errorf("reserve %d bytes of the queue: at most %d at once", n, min(MaxFrame, len(q.w.data)/2))
	}
	head := q.Head()
	if err := q.makeSpace(ctx, head+wal.LSN(n)); err != nil {
		return parts, err
	}
	q.reserved = n
	parts[0], parts[1] = q.w.slices(wal.Range{Start: head, End: head + wal.LSN(n)})
	return parts, nil
}

// Publish appends the first n bytes of what Reserve returned, at most all of it.
func (q *writer) Publish(n int) {
	n = max(0, min(n, q.reserved))
	q.reserved = 0
	at, now := q.Head(), Now()
	for n > 0 {
		in := int(uint64(at) % BlockSize)
		if in == 0 {
			q.open(at)
		}
		k := min(BlockSize-in, n)
		part := uint64(at) & q.w.mask
		invariant.Point("shmqueue/block/bytes") // They lie there since the socket was read.
		q.crc = checksumMore(q.crc, q.w.data[part:part+uint64(k)])
		at, n = q.describe(at, k, now), n-k
	}
	q.publish(at)
}

// open begins the block that at, the first byte of it in the ring, lies in.
func (q *writer) open(at wal.LSN) {
	d := q.w.block(at)
	invariant.Point("shmqueue/block/clear")
	d.fill.Store(0)
	invariant.Point("shmqueue/block/generation")
	d.generation.Store(q.w.generation)
	invariant.Point("shmqueue/block/start")
	d.start.Store(uint64(at))
	q.crc = 0
}

// put copies data, which fits, block by block, and describes it.
func (q *writer) put(at wal.LSN, data []byte) wal.LSN {
	now := Now()
	for len(data) > 0 {
		in := int(uint64(at) % BlockSize)
		if in == 0 {
			q.open(at)
		}
		part := data[:min(BlockSize-in, len(data))]
		q.crc = checksumMore(q.crc, part)
		invariant.Point("shmqueue/block/bytes")
		copy(q.w.data[uint64(at)&q.w.mask:], part)
		at, data = q.describe(at, len(part), now), data[len(part):]
	}
	return at
}

// describe takes n bytes at at, of one block, into its descriptor; crc covers
// them.
func (q *writer) describe(at wal.LSN, n int, now int64) (end wal.LSN) {
	d, start := q.w.block(at), q.w.blockStart(at)
	end = at + wal.LSN(n)
	invariant.Point("shmqueue/block/stamp")
	d.stamp.Store(now)
	invariant.Point("shmqueue/block/fill")
	d.fill.Store(packFill(int(end-start), q.crc))
	return end
}

// publish moves the head.
func (q *writer) publish(at wal.LSN) {
	invariant.Point("shmqueue/publish/before")
	// Readers first: what Verify finds below head they have been told.
	q.w.head.Store(uint64(at))
	q.head.Store(uint64(at))
	invariant.Point("shmqueue/publish/after")
	q.wakeAsking()
	invariant.Point("shmqueue/publish/woken")
}

// makeSpace waits until everything up to end fits, and raises the floor. A
// block whose first byte is overwritten has lost its checksum, so the floor is
// always the start of a block.
func (q *writer) makeSpace(ctx context.Context, end wal.LSN) error {
	need := (end + BlockSize - 1) &^ (BlockSize - 1)
	if need <= q.Floor()+q.w.size() {
		return q.alive()
	}
	floor := need - q.w.size()
	if err := q.wait(ctx, func() bool { return q.Released() >= floor }, nil); err != nil {
		return err
	}
	old := q.Floor()
	invariant.Point("shmqueue/floor/before")
	q.floor.Store(uint64(floor))
	q.w.floor.Store(uint64(floor))
	invariant.Point("shmqueue/floor/raised")
	if !q.ignorePins {
		free := func() bool { return q.lowestPin() >= uint64(floor) }
		if err := q.wait(ctx, free, func() { q.revokes.Add(uint64(q.revokeBelow(floor))) }); err != nil {
			return err
		}
	}
	if invariant.Enabled {
		a, b := q.w.slices(wal.Range{Start: old, End: floor})
		invariant.Poison(a)
		invariant.Poison(b)
	}
	return nil
}

func (q *writer) alive() error {
	select {
	case <-q.closed:
		return ErrClosed
	default:
		return nil
	}
}

// wait blocks until ready; after the grace, and now and then from there on, it
// calls late.
func (q *writer) wait(ctx context.Context, ready func() bool, late func()) error {
	if ready() {
		return q.alive()
	}
	invariant.Point("shmqueue/space/wanted")
	q.w.needSpace.Store(1)
	defer q.w.needSpace.Store(0)
	deadline := time.Now().Add(q.grace)
	q.timer.Reset(min(q.grace, lookAgain))
	defer q.timer.Stop()
	for !ready() {
		select {
		case <-q.space:
		case <-q.timer.C:
			if late != nil && !time.Now().Before(deadline) {
				late()
			}
			q.timer.Reset(lookAgain)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-q.closed:
			return ErrClosed
		}
	}
	return nil
}

// freed tells a waiting producer to look again.
func (q *writer) freed() {
	if q.w.needSpace.Load() != 0 {
		signal(q.space)
	}
}

// Verify checks every block in the ring. Any goroutine may call it. ErrCorrupt
// says that the memory is damaged: a queue is never repaired, it takes a new one.
func (q *writer) Verify() error {
	c, err := q.Register()
	if err != nil {
		return err
	}
	defer c.Close()
	for at := q.Floor(); at < q.Head(); {
		f, ok, err := c.Try(at, 0)
		switch {
		case errors.Is(err, ErrBehindFloor):
			if at >= q.Floor() {
				return ErrCorrupt
			}
			at = q.Floor()
			continue
		case err != nil:
			return err
		case !ok || !f.Intact():
			return ErrCorrupt
		}
		at = f.Range.End
	}
	return nil
}

// Release implements Producer.
func (q *writer) Release(upto wal.LSN) {
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
func (q *writer) Close() {
	q.closeOnce.Do(func() {
		close(q.closed)
		q.w.lines.closed.Store(q.w.generation)
	})
	q.wakeAll()
}
