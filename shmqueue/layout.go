package shmqueue

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"github.com/walhaven/walhaven/wal"
)

// descriptor stands beside each block of the ring. Only the producer writes it.
type descriptor struct {
	// start is the LSN of the first byte of the block that is in the ring, which
	// is the block's own start except for the first block of a queue.
	start atomic.Uint64
	// fill is length<<32 | CRC-32C of the bytes from start on: one word, so that
	// a reader never sees one without the other.
	fill atomic.Uint64
	// stamp is the time of the last publish into the block.
	stamp atomic.Int64
	_     [40]byte
}

func packFill(n int, crc uint32) uint64 { return uint64(n)<<32 | uint64(crc) }

func unpackFill(w uint64) (n uint32, crc uint32) { return uint32(w >> 32), uint32(w) }

// window is the ring with its descriptors and the two positions that every
// reader looks at, each on a cache line of its own.
type window struct {
	data  []byte
	desc  []descriptor
	mask  uint64
	_     [64]byte
	head  atomic.Uint64
	_     [56]byte
	floor atomic.Uint64
	_     [56]byte
}

// RingSize rounds size in bytes up to what a ring can have: a power of two, at
// least MinSize.
func RingSize(size int) (int, error) {
	if size < 0 || size > 1<<40 {
		return 0, fmt.Errorf("size of the queue: %d bytes is out of range", size)
	}
	if size <= MinSize {
		return MinSize, nil
	}
	return 1 << bits.Len64(uint64(size-1)), nil
}

func newWindow(size int, start wal.LSN) (*window, error) {
	size, err := RingSize(size)
	if err != nil {
		return nil, err
	}
	w := &window{data: make([]byte, size), desc: make([]descriptor, size/BlockSize), mask: uint64(size - 1)}
	w.head.Store(uint64(start))
	w.floor.Store(uint64(start))
	w.block(start).start.Store(uint64(start))
	return w, nil
}

func (w *window) size() wal.LSN { return wal.LSN(len(w.data)) }

func (w *window) Head() wal.LSN  { return wal.LSN(w.head.Load()) }
func (w *window) Floor() wal.LSN { return wal.LSN(w.floor.Load()) }

// block returns the descriptor of the block that holds l.
func (w *window) block(l wal.LSN) *descriptor {
	return &w.desc[uint64(l)&w.mask/BlockSize]
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
