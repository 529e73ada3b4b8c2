package shmqueue

import (
	"context"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// consumer reads from a window, in whatever memory that lies. Whatever it finds
// there it checks before use.
type consumer struct {
	w       *window
	words   *slotWords
	line    *slotLine
	id      SlotID
	wake    <-chan struct{}
	revoked <-chan struct{}
	freed   func() // tells a producer that waits to look again
	close   func()
	// seen is the checksum of the block that holds the byte before at, as far as
	// at, if at is where the last frame ended inside a block.
	at   wal.LSN
	seen uint32
}

var _ Consumer = (*consumer)(nil)

func (c *consumer) ID() SlotID               { return c.id }
func (c *consumer) Head() wal.LSN            { return wal.LSN(c.w.head.Load()) }
func (c *consumer) Floor() wal.LSN           { return wal.LSN(c.w.floor.Load()) }
func (c *consumer) Wake() <-chan struct{}    { return c.wake }
func (c *consumer) Revoked() <-chan struct{} { return c.revoked }

// owner says whether the slot is still this consumer's.
func (c *consumer) owner() bool {
	return c.line.generation.Load() == c.id.Generation && c.line.revoked.Load() != c.id.Generation
}

func (c *consumer) Unpin() {
	// A slot that was taken away may be another's now, if it is of this process.
	if c.line.generation.Load() == c.id.Generation && c.words.pin.Load() != noPin {
		invariant.Point("shmqueue/unpin")
		c.words.pin.Store(noPin)
		c.freed()
	}
}

func (c *consumer) Close() { c.close() }

func (c *consumer) Ask() {
	if c.owner() {
		c.words.asked.Add(1)
	}
}

func (c *consumer) Next(ctx context.Context, from, limit wal.LSN) (Frame, error) {
	for {
		f, ok, err := c.Try(from, limit)
		if ok || err != nil {
			return f, err
		}
		select {
		case <-c.wake:
		case <-c.revoked:
		case <-ctx.Done():
			return Frame{}, context.Cause(ctx)
		}
	}
}

func (c *consumer) Try(from, limit wal.LSN) (Frame, bool, error) {
	if !c.owner() {
		return Frame{}, false, ErrRevoked
	}
	if ok, err := c.available(from, limit); !ok || err != nil {
		c.Unpin()
		return Frame{}, false, err
	}
	// The pin stands before the floor is looked at, and the producer raises the
	// floor before it looks at pins: one of the two notices.
	invariant.Point("shmqueue/pin/before")
	if c.words.pin.Swap(uint64(from)) < uint64(from) {
		c.freed()
	}
	invariant.Point("shmqueue/pin/after")
	if from < c.Floor() {
		c.Unpin()
		return Frame{}, false, ErrBehindFloor
	}
	f, err := c.frame(from, limit)
	if err != nil {
		c.Unpin()
		return Frame{}, false, err
	}
	return f, true, nil
}

// available says whether there is a byte at from below limit. If not, the
// producer is asked for a wake-up. The last frame may have ended above the head:
// what a publish adds to the descriptors counts before the head moves.
func (c *consumer) available(from, limit wal.LSN) (bool, error) {
	if limit != 0 && from >= limit {
		return false, nil
	}
	for asked := false; ; asked = true {
		// Closed is looked at before the head, so that nothing written before the
		// end is missed.
		closed := c.w.lines.closed.Load() == c.w.generation
		head := c.Head()
		switch floor := c.Floor(); {
		case head < c.w.start || head > floor && head-floor > c.w.size():
			return false, ErrCorrupt
		case from < head:
			return true, nil
		case from > head && from != c.at:
			return false, ErrAheadOfHead
		case closed:
			return false, ErrClosed
		case asked:
			return false, nil
		}
		invariant.Point("shmqueue/ask")
		c.words.asked.Add(1)
	}
}

// frame builds the answer for pinned bytes at from.
func (c *consumer) frame(from, limit wal.LSN) (Frame, error) {
	f := Frame{Range: wal.Range{Start: from, End: from}, Published: c.w.block(from).stamp.Load() + c.w.clock}
	end := (from + min(MaxFrame, c.w.size())) &^ (BlockSize - 1)
	for f.Range.End < end {
		next, crc, more := c.piece(f.Range.End, limit)
		if next == f.Range.End {
			break
		}
		if next == 0 {
			return Frame{}, ErrCorrupt
		}
		f.CRC = combine(f.CRC, crc, uint32(next-f.Range.End))
		f.Range.End = next
		if !more {
			break
		}
	}
	if f.Range.End == from {
		return Frame{}, ErrCorrupt
	}
	f.Parts[0], f.Parts[1] = c.w.slices(f.Range)
	return f, nil
}

// piece takes what one block has from at on: its end and checksum, and whether
// the next block may be looked at. An end of 0 means that the descriptor or the
// bytes are not what they should be.
func (c *consumer) piece(at, limit wal.LSN) (end wal.LSN, crc uint32, more bool) {
	d := c.w.block(at)
	start, want := wal.LSN(d.start.Load()), c.w.blockStart(at)
	n, fillCRC := unpackFill(d.fill.Load())
	blockEnd := at&^(BlockSize-1) + BlockSize
	end = want + wal.LSN(n)
	if start != want || d.generation.Load() != c.w.generation || end > blockEnd || end < at {
		// A block that the producer has not begun yet still describes its last turn.
		if at == at.PageStart() && start < at {
			return at, 0, false
		}
		return 0, 0, false
	}
	if limit != 0 && end > limit {
		return c.cut(wal.Range{Start: at, End: limit}, wal.Range{Start: start, End: end}, fillCRC)
	}
	crc = fillCRC
	if start < at {
		crc = suffix(fillCRC, c.prefix(start, at), uint32(end-at))
	}
	c.at, c.seen = end, fillCRC
	return end, crc, end == blockEnd
}

// cut makes a checksum for a part of a block, after checking the whole: the
// producer's own covers only what it published.
func (c *consumer) cut(part, block wal.Range, want uint32) (wal.LSN, uint32, bool) {
	if c.w.checksum(block) != want {
		return 0, 0, false
	}
	return part.End, c.w.checksum(part), false
}

// prefix is the checksum of the bytes of at's block before at.
func (c *consumer) prefix(start, at wal.LSN) uint32 {
	if c.at == at {
		return c.seen
	}
	return c.w.checksum(wal.Range{Start: start, End: at})
}
