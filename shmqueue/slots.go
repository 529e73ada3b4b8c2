package shmqueue

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/walhaven/walhaven/wal"
)

// noPin is the pin of a consumer that holds no bytes.
const noPin = math.MaxUint64

// slot is one consumer's place. The consumer writes pin; generation and the
// revocation change only under the lock of the registry.
type slot struct {
	pin        atomic.Uint64
	generation atomic.Uint32
	isRevoked  bool
	wake       chan struct{}
	revoked    chan struct{}
	_          [32]byte
}

// registry hands out slots. Free ones lie in a circular buffer, so that a slot
// rests as long as possible before it is used again.
type registry struct {
	mu    sync.Mutex
	slots [MaxSlots]slot
	free  [MaxSlots]uint32
	// taken and given count slots handed out and given back for ever.
	taken, given uint64
	// live and waiting have a bit for each slot that is handed out, and for each
	// whose consumer sleeps.
	live    atomic.Uint64
	waiting atomic.Uint64
}

func (r *registry) init() {
	for i := range r.slots {
		r.slots[i].pin.Store(noPin)
		r.slots[i].wake = make(chan struct{}, 1)
		r.free[i] = uint32(i)
	}
	r.given = MaxSlots
}

func (r *registry) take() (SlotID, *slot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken == r.given {
		return SlotID{}, nil, ErrNoSlot
	}
	i := r.free[r.taken%MaxSlots]
	r.taken++
	s := &r.slots[i]
	s.revoked, s.isRevoked = make(chan struct{}), false
	r.live.Or(1 << i)
	return SlotID{Index: i, Generation: s.generation.Add(1)}, s, nil
}

// give takes a slot back. A second call for the same generation does nothing.
func (r *registry) give(id SlotID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.slots[id.Index]
	if s.generation.Load() != id.Generation {
		return
	}
	s.generation.Add(1)
	s.pin.Store(noPin)
	r.live.And(^uint64(1 << id.Index))
	r.free[r.given%MaxSlots] = id.Index
	r.given++
}

// revokeBelow takes the slots away whose pin lies below l.
func (r *registry) revokeBelow(l wal.LSN) (revoked int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.slots {
		if s := &r.slots[i]; !s.isRevoked && s.pin.Load() < uint64(l) {
			s.isRevoked = true
			close(s.revoked)
			revoked++
		}
	}
	return revoked
}

// lowestPin is the lowest pinned LSN, noPin if there is none.
func (r *registry) lowestPin() uint64 {
	low := uint64(noPin)
	for set := r.live.Load(); set != 0; set &= set - 1 {
		low = min(low, r.slots[bits.TrailingZeros64(set)].pin.Load())
	}
	return low
}

// sleep marks the consumer of slot i as waiting. It must look at the head once
// more before it waits: the producer moves the head before it looks at the
// marks, so one of the two notices.
func (r *registry) sleep(i uint32) { r.waiting.Or(1 << i) }

// wakeWaiting signals the consumers that wait.
func (r *registry) wakeWaiting() {
	if r.waiting.Load() == 0 {
		return
	}
	for set := r.waiting.Swap(0); set != 0; set &= set - 1 {
		signal(r.slots[bits.TrailingZeros64(set)].wake)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
