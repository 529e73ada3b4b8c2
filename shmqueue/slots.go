package shmqueue

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// slot is what the producer knows of one consumer.
type slot struct {
	words *slotWords
	line  *slotLine
	// wake and revoked are for a consumer of this process.
	wake    chan struct{}
	revoked chan struct{}
	// bell wakes a consumer of another process; nil for one of this.
	bell atomic.Pointer[bell]
	// ringBy takes the bell's place when there is WAL, unless it returns false; nil:
	// nothing does.
	ringBy atomic.Pointer[func() bool]
	// answered is the consumer's word asked when it was woken last.
	answered uint64
	// generation and isRevoked are what line says; that is never read back.
	generation uint32
	isRevoked  bool
}

// call wakes the consumer because there is WAL.
func (s *slot) call() {
	if f := s.ringBy.Load(); f != nil && (*f)() {
		return
	}
	s.ring()
}

// ring wakes the consumer.
func (s *slot) ring() {
	if b := s.bell.Load(); b != nil {
		b.ring()
		return
	}
	signal(s.wake)
}

// registry hands out slots. It lies in the producer's own memory. Free slots lie
// in a circular buffer, so that a slot rests as long as possible before it is
// used again.
type registry struct {
	mu    sync.Mutex
	slots [MaxSlots]slot
	free  [MaxSlots]uint32
	// taken and given count slots handed out and given back for ever.
	taken, given uint64
	// live has a bit for each slot that is handed out.
	live atomic.Uint64
	// onRevoke is told of slots taken from consumers of other processes.
	onRevoke func(SlotID)
}

// init takes words, one for each slot, and the lines that consumers see.
func (r *registry) init(words func(i int) *slotWords, table []slotLine) {
	for i := range r.slots {
		s := &r.slots[i]
		s.words, s.line, s.wake = words(i), &table[i], make(chan struct{}, 1)
		s.words.pin.Store(noPin)
		r.free[i] = uint32(i)
	}
	r.given = MaxSlots
}

// take hands out a slot. prepare makes it ready under its new identity, before
// the producer looks at it.
func (r *registry) take(prepare func(SlotID, *slot) error) (SlotID, *slot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken == r.given {
		return SlotID{}, nil, ErrNoSlot
	}
	i := r.free[r.taken%MaxSlots]
	s := &r.slots[i]
	id := SlotID{Index: i, Generation: s.generation + 1}
	if err := prepare(id, s); err != nil {
		return SlotID{}, nil, err
	}
	r.taken++
	s.generation, s.isRevoked, s.revoked = id.Generation, false, make(chan struct{})
	invariant.Point("shmqueue/slot/generation")
	s.line.generation.Store(id.Generation)
	invariant.Point("shmqueue/slot/live")
	r.live.Or(1 << i)
	return id, s, nil
}

// give takes a slot back. A second call for the same generation does nothing.
func (r *registry) give(id SlotID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id.Index >= MaxSlots {
		return
	}
	s := &r.slots[id.Index]
	if s.generation != id.Generation || r.live.Load()&(1<<id.Index) == 0 {
		return
	}
	s.generation++
	s.line.generation.Store(s.generation)
	s.ringBy.Store(nil)
	r.live.And(^uint64(1 << id.Index))
	if b := s.bell.Swap(nil); b != nil {
		b.close()
	} else {
		s.words.pin.Store(noPin)
	}
	r.free[r.given%MaxSlots] = id.Index
	r.given++
}

// revokeBelow takes the slots away whose pin lies below l.
func (r *registry) revokeBelow(l wal.LSN) (revoked int) {
	return r.revoke(func(s *slot) bool { return s.words.pin.Load() < uint64(l) })
}

// revoke takes the slots away that which chooses.
func (r *registry) revoke(which func(*slot) bool) (revoked int) {
	var others []SlotID
	r.mu.Lock()
	for set := r.live.Load(); set != 0; set &= set - 1 {
		i := bits.TrailingZeros64(set)
		s := &r.slots[i]
		if s.isRevoked || !which(s) {
			continue
		}
		s.isRevoked = true
		invariant.Point("shmqueue/slot/revoked")
		s.line.revoked.Store(s.generation)
		close(s.revoked)
		s.ring()
		revoked++
		if s.bell.Load() != nil {
			others = append(others, SlotID{Index: uint32(i), Generation: s.generation})
		}
	}
	r.mu.Unlock()
	for _, id := range others {
		if r.onRevoke != nil {
			r.onRevoke(id)
		}
	}
	return revoked
}

// lowestPin is the lowest pinned LSN, noPin if there is none.
func (r *registry) lowestPin() uint64 {
	low := uint64(noPin)
	for set := r.live.Load(); set != 0; set &= set - 1 {
		low = min(low, r.slots[bits.TrailingZeros64(set)].words.pin.Load())
	}
	return low
}

// wakeAsking wakes the consumers that asked. A consumer asks, and then looks at
// the head once more before it waits; the producer moves the head before it
// looks at who asked: one of the two notices. Only the producer's goroutine
// calls it.
func (r *registry) wakeAsking() {
	for set := r.live.Load(); set != 0; set &= set - 1 {
		s := &r.slots[bits.TrailingZeros64(set)]
		if n := s.words.asked.Load(); n != s.answered {
			s.answered = n
			s.call()
		}
	}
}

// RingBy has f called, by the goroutine that writes, instead of waking the
// consumer of a slot that asked to be woken: it is woken all the same when f
// returns false. f must not block. The end of the slot, or of the queue, still
// wakes it.
func (r *registry) RingBy(id SlotID, f func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id.Index < MaxSlots && r.slots[id.Index].generation == id.Generation {
		r.slots[id.Index].ringBy.Store(&f)
	}
}

// wakeAll wakes every consumer.
func (r *registry) wakeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for set := r.live.Load(); set != 0; set &= set - 1 {
		r.slots[bits.TrailingZeros64(set)].ring()
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
