package pageread

import (
	"context"
	"encoding/binary"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Places in a heap tuple's header, and bits of t_infomask
// (src/include/access/htup_details.h).
const (
	tupleXmin      = 0
	tupleXmax      = 4
	tupleCtid      = 12
	tupleInfomask2 = 18
	tupleInfomask  = 20
	tupleHoff      = 22
	tupleHeader    = 23

	hotUpdated = 0x4000 // of t_infomask2

	xmaxLockOnly  = 0x0080
	xminCommitted = 0x0100
	xminInvalid   = 0x0200
	xmaxCommitted = 0x0400
	xmaxInvalid   = 0x0800
	xmaxIsMulti   = 0x1000
)

// tuples calls f with the data of each tuple of a heap that a snapshot taken at
// the position sees, that of transactions that had committed there, until f
// returns false.
func (r *Reader) tuples(ctx context.Context, rel walrecord.RelFile, at At, f func(data []byte) (bool, error)) error {
	blocks, err := r.Size(ctx, rel, walrecord.ForkMain, at)
	if err != nil {
		return err
	}
	for block := range blocks {
		p, err := r.Page(ctx, rel, walrecord.ForkMain, block, at)
		if err != nil {
			return err
		}
		for off := 1; off <= p.MaxOffset(); off++ {
			t := tupleAt(p, uint16(off))
			if t == nil {
				continue
			}
			visible, err := r.visible(ctx, t, at)
			if err != nil {
				return err
			}
			if !visible {
				continue
			}
			if more, err := f(t[t[tupleHoff]:]); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// tupleAt is the tuple of a line pointer, nil when it has none.
func tupleAt(p *page.Page, offset uint16) []byte {
	if offset == 0 || int(offset) > p.MaxOffset() || p.Pointer(offset).Flags() != page.Normal {
		return nil
	}
	t, err := p.Item(offset)
	if err != nil || len(t) < tupleHeader || int(t[tupleHoff]) > len(t) {
		return nil // A damaged pointer is no tuple.
	}
	return t
}

// tuple is the data of the tuple that is seen at the position of those that an
// index finds at a place: it, and the newer versions of the same page that no
// index knows (heap_hot_search_buffer). nil when none is.
func (r *Reader) tuple(ctx context.Context, rel walrecord.RelFile, place tid, at At) ([]byte, error) {
	p, err := r.Page(ctx, rel, walrecord.ForkMain, place.block, at)
	if err != nil {
		return nil, err
	}
	offset, before := place.offset, uint32(0)
	if offset > 0 && int(offset) <= p.MaxOffset() {
		if i := p.Pointer(offset); i.Flags() == page.Redirect {
			offset = uint16(i.Offset())
		}
	}
	for range page.MaxHeapTuples {
		t := tupleAt(p, offset)
		if t == nil || before != 0 && binary.LittleEndian.Uint32(t[tupleXmin:]) != before {
			return nil, nil
		}
		if visible, err := r.visible(ctx, t, at); err != nil || visible {
			return t[t[tupleHoff]:], err
		}
		next := tidOf(t[tupleCtid:])
		if binary.LittleEndian.Uint16(t[tupleInfomask2:])&hotUpdated == 0 || next.block != place.block {
			return nil, nil
		}
		offset, before = next.offset, binary.LittleEndian.Uint32(t[tupleXmax:])
	}
	return nil, nil
}

// visible says whether a tuple's transaction had committed at the position, and
// none that removed it. Hint bits are what a server knew, so that they hold.
func (r *Reader) visible(ctx context.Context, t []byte, at At) (bool, error) {
	mask := binary.LittleEndian.Uint16(t[tupleInfomask:])
	switch mask & (xminCommitted | xminInvalid) {
	case xminInvalid:
		return false, nil
	case 0:
		s, err := r.Status(ctx, binary.LittleEndian.Uint32(t[tupleXmin:]), at)
		if s != pagekey.StatusCommitted || err != nil {
			return false, err
		}
	}
	// Rows of catalogs are not removed under a multixact: they are locked by it.
	if mask&(xmaxInvalid|xmaxLockOnly|xmaxIsMulti) != 0 {
		return true, nil
	}
	if mask&xmaxCommitted != 0 {
		return false, nil
	}
	s, err := r.Status(ctx, binary.LittleEndian.Uint32(t[tupleXmax:]), at)
	return s != pagekey.StatusCommitted, err
}
