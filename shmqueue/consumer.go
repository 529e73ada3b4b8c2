package shmqueue

import (
	"context"

	"github.com/walhaven/walhaven/wal"
)

// localConsumer reads from a Local queue.
type localConsumer struct {
	q       *Local
	slot    *slot
	id      SlotID
	revoked chan struct{}
	// seen is the checksum of the block that holds the byte before at, as far as
	// at, if at is where the last frame ended inside a block.
	at   wal.LSN
	seen uint32
}

// Register implements Producer. Any goroutine may call it.
func (q *Local) Register() (Consumer, error) {
	id, s, err := q.take()
	if err != nil {
		return nil, err
	}
	return &localConsumer{q: q, slot: s, id: id, revoked: s.revoked}, nil
}

func (c *localConsumer) ID() SlotID               { return c.id }
func (c *localConsumer) Head() wal.LSN            { return c.q.Head() }
func (c *localConsumer) Floor() wal.LSN           { return c.q.Floor() }
func (c *localConsumer) Wake() <-chan struct{}    { return c.slot.wake }
func (c *localConsumer) Revoked() <-chan struct{} { return c.revoked }

// owner says whether the slot is still this consumer's.
func (c *localConsumer) owner() bool {
	return c.slot.generation.Load() == c.id.Generation
}

func (c *localConsumer) Unpin() {
	if c.owner() && c.slot.pin.Load() != noPin {
		c.slot.pin.Store(noPin)
		c.q.freed()
	}
}

func (c *localConsumer) Close() {
	c.q.give(c.id)
	c.q.freed()
}

func (c *localConsumer) Next(ctx context.Context, from, limit wal.LSN) (Frame, error) {
	for {
		f, ok, err := c.Try(from, limit)
		if ok || err != nil {
			return f, err
		}
		select {
		case <-c.slot.wake:
		case <-c.revoked:
		case <-ctx.Done():
			return Frame{}, context.Cause(ctx)
		}
	}
}

func (c *localConsumer) Try(from, limit wal.LSN) (Frame, bool, error) {
	select {
	case <-c.revoked:
		return Frame{}, false, ErrRevoked
	default:
	}
	if !c.owner() {
		return Frame{}, false, ErrRevoked
	}
	if ok, err := c.available(from, limit); !ok || err != nil {
		c.Unpin()
		return Frame{}, false, err
	}
	// The pin stands before the floor is looked at, and the producer raises the
	// floor before it looks at pins: one of the two notices.
	if c.slot.pin.Swap(uint64(from)) < uint64(from) {
		c.q.freed()
	}
	if from < c.q.Floor() {
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
// consumer is marked as waiting. The last frame may have ended above the head:
// what a publish adds to the descriptors counts before the head moves.
func (c *localConsumer) available(from, limit wal.LSN) (bool, error) {
	if limit != 0 && from >= limit {
		return false, nil
	}
	for armed := false; ; armed = true {
		// Closed is looked at before the head, so that nothing written before the
		// end is missed.
		closed := c.q.alive() != nil
		switch head := c.q.Head(); {
		case from < head:
			return true, nil
		case from > head && from != c.at:
			return false, ErrAheadOfHead
		case closed:
			return false, ErrClosed
		case armed:
			return false, nil
		}
		c.q.sleep(c.id.Index)
	}
}

// frame builds the answer for pinned bytes at from.
func (c *localConsumer) frame(from, limit wal.LSN) (Frame, error) {
	f := Frame{Range: wal.Range{Start: from, End: from}, Published: c.q.block(from).stamp.Load()}
	end := (from + MaxFrame) &^ (BlockSize - 1)
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
	f.Parts[0], f.Parts[1] = c.q.slices(f.Range)
	return f, nil
}

// piece takes what one block has from at on: its end and checksum, and whether
// the next block may be looked at. An end of 0 means that the descriptor or the
// bytes are not what they should be.
func (c *localConsumer) piece(at, limit wal.LSN) (end wal.LSN, crc uint32, more bool) {
	d := c.q.block(at)
	start := wal.LSN(d.start.Load())
	n, fillCRC := unpackFill(d.fill.Load())
	blockEnd := at&^(BlockSize-1) + BlockSize
	end = start + wal.LSN(n)
	if start.PageStart() != at.PageStart() || start > at || end > blockEnd || end < at {
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
func (c *localConsumer) cut(part, block wal.Range, want uint32) (wal.LSN, uint32, bool) {
	if c.q.checksum(block) != want {
		return 0, 0, false
	}
	return part.End, c.q.checksum(part), false
}

// prefix is the checksum of the bytes of at's block before at.
func (c *localConsumer) prefix(start, at wal.LSN) uint32 {
	if c.at == at {
		return c.seen
	}
	return c.q.checksum(wal.Range{Start: start, End: at})
}
