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
	tupleXmin     = 0
	tupleXmax     = 4
	tupleInfomask = 20
	tupleHoff     = 22
	tupleHeader   = 23

	xmaxLockOnly  = 0x0080
	xminCommitted = 0x0100
	xminInvalid   = 0x0200
	xmaxCommitted = 0x0400
	xmaxInvalid   = 0x0800
	xmaxIsMulti   = 0x1000
)

// tuples calls f with the data of each tuple of a heap that a snapshot taken at
// the position sees: that of transactions that had committed there.
func (r *Reader) tuples(ctx context.Context, rel walrecord.RelFile, at At, f func(data []byte) error) error {
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
			if p.Pointer(uint16(off)).Flags() != page.Normal {
				continue
			}
			t, err := p.Item(uint16(off))
			if err != nil || len(t) < tupleHeader || int(t[tupleHoff]) > len(t) {
				continue // A damaged pointer is no tuple.
			}
			visible, err := r.visible(ctx, t, at)
			if err != nil {
				return err
			}
			if !visible {
				continue
			}
			if err := f(t[t[tupleHoff]:]); err != nil {
				return err
			}
		}
	}
	return nil
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
