package shmqueue

import (
	"fmt"
	"math"
	"math/bits"
	"sync/atomic"

	"github.com/walhaven/walhaven/wal"
)

// noPin is the pin of a consumer that holds no bytes.
const noPin = math.MaxUint64

// lines are the words that every reader of a queue looks at, each on cache lines
// of its own. Only the producer writes them, and it never reads them back: what
// it knows is in its own memory.
type lines struct {
	// head is the first LSN not yet written.
	head atomic.Uint64
	_    [120]byte
	// floor is the oldest LSN that is still intact.
	floor atomic.Uint64
	_     [120]byte
	// closed is the queue's generation when nothing more will be written; anything
	// else, such as a bit that flipped, means nothing.
	closed atomic.Uint64
	_      [120]byte
	// needSpace is not 0 while the producer waits for a consumer.
	needSpace atomic.Uint64
	_         [120]byte
}

// slotLine says whose a slot is. Only the producer writes it.
type slotLine struct {
	// generation of the consumer that the slot was handed to.
	generation atomic.Uint32
	// revoked is the generation from which the slot was taken away.
	revoked atomic.Uint32
	_       [56]byte
}

// slotWords are what a consumer tells the producer. Only the consumer writes
// them. The producer takes them as hints on pace: whatever they hold, it neither
// computes an address from them nor acknowledges anything.
type slotWords struct {
	// pin is the first LSN that the consumer uses in place, or noPin.
	pin atomic.Uint64
	_   [56]byte
	// asked counts how often the consumer asked to be woken.
	asked atomic.Uint64
	_     [56]byte
}

// descriptor stands beside each block of the ring. Only the producer writes it.
type descriptor struct {
	// start is the LSN of the first byte of the block that is in the ring, which
	// is the block's own start except for the first block of a queue.
	start atomic.Uint64
	// fill is length<<32 | CRC-32C of the bytes from start on: one word, so that
	// a reader never sees one without the other.
	fill atomic.Uint64
	// generation is the queue's.
	generation atomic.Uint64
	// stamp is the time of the last publish into the block.
	stamp atomic.Int64
	_     [32]byte
}

func packFill(n int, crc uint32) uint64 { return uint64(n)<<32 | uint64(crc) }

func unpackFill(w uint64) (n uint32, crc uint32) { return uint32(w >> 32), uint32(w) }

// window is the ring with what describes it, as one process sees it.
type window struct {
	*lines
	table []slotLine
	data  []byte
	desc  []descriptor
	// What follows does not change and was checked.
	mask       uint64
	start      wal.LSN // of the queue
	generation uint64
	clock      int64 // what makes a stamp a time of Now
}

// RingSize rounds size in bytes up to what a ring can have: a power of two, at
// least MinSize.
func RingSize(size int) (int, error) {
	if size < 0 || size > maxSize {
		return 0, fmt.Errorf("size of the queue: %d bytes is out of range", size)
	}
	if size <= MinSize {
		return MinSize, nil
	}
	return 1 << bits.Len64(uint64(size-1)), nil
}

// newWindow makes a window in this process's own memory.
func newWindow(size int, start wal.LSN) *window {
	return &window{
		lines: new(lines), table: make([]slotLine, MaxSlots),
		data: make([]byte, size), desc: make([]descriptor, size/BlockSize),
		mask: uint64(size - 1), start: start, generation: newGeneration(),
	}
}

func (w *window) size() wal.LSN { return wal.LSN(len(w.data)) }

// block returns the descriptor of the block that holds l.
func (w *window) block(l wal.LSN) *descriptor {
	return &w.desc[uint64(l)&w.mask/BlockSize]
}

// blockStart is where the bytes of l's block begin that the ring can have.
func (w *window) blockStart(l wal.LSN) wal.LSN {
	return max(l&^(BlockSize-1), w.start)
}

// slices returns the bytes of r, which is at most the ring's size long.
func (w *window) slices(r wal.Range) (a, b []byte) {
	at, n := uint64(r.Start)&w.mask, r.Len()
	if at+n <= uint64(len(w.data)) {
		return w.data[at : at+n], nil
	}
	return w.data[at:], w.data[:at+n-uint64(len(w.data))]
}

// checksum computes the CRC-32C of the bytes of r.
func (w *window) checksum(r wal.Range) uint32 {
	a, b := w.slices(r)
	return checksumMore(Checksum(a), b)
}
