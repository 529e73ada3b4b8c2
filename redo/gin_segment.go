package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
)

// ginOffsetBits is how many bits of a TID as a number are its offset number
// (MaxHeapTuplesPerPageBits).
const ginOffsetBits = 11

// ginTID is a TID as the number whose differences segments hold.
func ginTID(b []byte) uint64 {
	return uint64(blockID(b))<<ginOffsetBits | uint64(binary.LittleEndian.Uint16(b[4:]))
}

// ginSegmentWriter builds the payload of a posting tree's leaf.
type ginSegmentWriter struct {
	buf [page.Size]byte
	n   int
	bad bool // It got too long, or a segment makes no sense.
}

func (w *ginSegmentWriter) copy(b []byte) {
	if len(b) > len(w.buf)-w.n {
		w.bad = true
		return
	}
	w.n += copy(w.buf[w.n:], b)
}

// merge writes one segment of the TIDs in a segment, which may be nil, and in
// items, both in order; those in both count once (ginMergeItemPointers,
// ginCompressPostingList).
func (w *ginSegmentWriter) merge(segment, items []byte) {
	old := newGinSegmentReader(segment)
	start := w.n
	var last uint64
	more := len(items) >= lenTID
	var item uint64
	if more {
		item = ginTID(items)
	}
	for !w.bad && (old.more || more) {
		var next uint64
		switch {
		case !more:
			next = old.tid
		case !old.more:
			next = item
		default:
			next = min(old.tid, item)
		}
		w.add(start, last, next)
		last = next
		if old.more && old.tid == next {
			old.next()
		}
		for more && item == next {
			items = items[lenTID:]
			if more = len(items) >= lenTID; more {
				item = ginTID(items)
			}
		}
	}
	if old.bad {
		w.bad = true
	}
	w.end(start)
}

// add appends a TID to the segment that begins at start.
func (w *ginSegmentWriter) add(start int, last, next uint64) {
	if w.n == start {
		if w.n+lenGinSegment > len(w.buf) {
			w.bad = true
			return
		}
		putTupleID(w.buf[w.n:], uint32(next>>ginOffsetBits), uint16(next&(1<<ginOffsetBits-1)))
		w.n += lenGinSegment
		return
	}
	if next <= last || w.n+binary.MaxVarintLen64 > len(w.buf) {
		w.bad = true
		return
	}
	w.n += binary.PutUvarint(w.buf[w.n:], next-last)
}

// end fills in the length of the segment that begins at start, and pads it.
func (w *ginSegmentWriter) end(start int) {
	if w.bad || w.n == start {
		return
	}
	n := w.n - start - lenGinSegment
	binary.LittleEndian.PutUint16(w.buf[start+lenTID:], uint16(n))
	if n&1 != 0 {
		if w.n == len(w.buf) {
			w.bad = true
			return
		}
		w.buf[w.n] = 0
		w.n++
	}
}

// ginSegmentReader goes through the TIDs of a segment.
type ginSegmentReader struct {
	rest []byte // differences
	tid  uint64 // the present one, if more
	more bool
	bad  bool
}

// newGinSegmentReader begins with the first TID; a nil segment has none.
func newGinSegmentReader(segment []byte) ginSegmentReader {
	if len(segment) < lenGinSegment {
		return ginSegmentReader{}
	}
	n := int(binary.LittleEndian.Uint16(segment[lenTID:]))
	if n > len(segment)-lenGinSegment {
		return ginSegmentReader{bad: true}
	}
	return ginSegmentReader{rest: segment[lenGinSegment : lenGinSegment+n], tid: ginTID(segment), more: true}
}

func (r *ginSegmentReader) next() {
	if len(r.rest) == 0 {
		r.more = false
		return
	}
	diff, n := binary.Uvarint(r.rest)
	if n <= 0 || diff == 0 {
		r.more = false
		r.bad = true
		return
	}
	r.tid += diff
	r.rest = r.rest[n:]
}
