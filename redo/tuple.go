package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// A heap tuple's header (HeapTupleHeaderData): xmin@0, xmax@4, cid@8, ctid@12,
// infomask2@18, infomask@20, hoff@22; 23 bytes, then the null bitmap and padding
// up to hoff, then the user's data.
const tupleHeader = 23

// Bits of t_infomask and t_infomask2.
const (
	infoCombo      = 0x0020
	infoKeyShare   = 0x0010
	infoExclusive  = 0x0040
	infoLockOnly   = 0x0080
	infoIsMulti    = 0x1000
	infoXmaxBits   = 0x0400 | 0x0800 | infoIsMulti | infoLockOnly | infoExclusive | infoKeyShare
	infoMoved      = 0xC000
	info2KeysUpd   = 0x2000
	info2HotUpdate = 0x4000
)

// tuple is a heap tuple on a page or in the making, at least tupleHeader long.
type tuple []byte

// heapTuple is the tuple of a normal line pointer.
func heapTuple(p *page.Page, offnum uint16) (tuple, error) {
	t, err := p.Item(offnum)
	if err != nil {
		return nil, err
	}
	if len(t) < tupleHeader || p.Pointer(offnum).Flags() != page.Normal {
		return nil, errBadPage
	}
	return t, nil
}

func (t tuple) setXmin(xid uint32) { binary.LittleEndian.PutUint32(t, xid) }
func (t tuple) setXmax(xid uint32) { binary.LittleEndian.PutUint32(t[4:], xid) }
func (t tuple) info() uint16       { return binary.LittleEndian.Uint16(t[20:]) }
func (t tuple) info2() uint16      { return binary.LittleEndian.Uint16(t[18:]) }
func (t tuple) setInfo(v uint16)   { binary.LittleEndian.PutUint16(t[20:], v) }
func (t tuple) setInfo2(v uint16)  { binary.LittleEndian.PutUint16(t[18:], v) }
func (t tuple) hoff() int          { return int(t[22]) }

// setCID makes t_cid zero: command ids do not survive their transaction.
func (t tuple) setCID() {
	clear(t[8:12])
	t.setInfo(t.info() &^ infoCombo)
}

func (t tuple) setXvac(xid uint32) { binary.LittleEndian.PutUint32(t[8:], xid) }

// setCTID stores a block number, high half first, and an offset number.
func (t tuple) setCTID(block uint32, offnum uint16) {
	binary.LittleEndian.PutUint16(t[12:], uint16(block>>16))
	binary.LittleEndian.PutUint16(t[14:], uint16(block))
	binary.LittleEndian.PutUint16(t[16:], offnum)
}

func (t tuple) setHot(on bool) {
	if on {
		t.setInfo2(t.info2() | info2HotUpdate)
	} else {
		t.setInfo2(t.info2() &^ info2HotUpdate)
	}
}

// setXmaxBits replaces what the infomasks say of xmax by a record's infobits.
func (t tuple) setXmaxBits(bits uint8) {
	info := t.info() &^ (infoXmaxBits | infoMoved)
	info2 := t.info2() &^ info2KeysUpd
	if bits&0x01 != 0 {
		info |= infoIsMulti
	}
	if bits&0x02 != 0 {
		info |= infoLockOnly
	}
	if bits&0x04 != 0 {
		info |= infoExclusive
	}
	if bits&0x08 != 0 {
		info |= infoKeyShare
	}
	if bits&0x10 != 0 {
		info2 |= info2KeysUpd
	}
	t.setInfo(info)
	t.setInfo2(info2)
}

// lockedOnly reports whether xmax only locks (HEAP_XMAX_IS_LOCKED_ONLY).
func (t tuple) lockedOnly() bool {
	info := t.info()
	return info&infoLockOnly != 0 || info&(infoIsMulti|infoExclusive|infoKeyShare) == infoExclusive
}

// heapHeader is xl_heap_header: what of a tuple's header a record carries.
type heapHeader struct {
	info2, info uint16
	hoff        uint8
}

func readHeapHeader(r *walrecord.Cursor) heapHeader { return heapHeader{r.U16(), r.U16(), r.U8()} }

// place makes room for a tuple of size bytes behind its header, and fills in a
// header for one that the record's transaction made.
func (c *ctx) place(p *page.Page, offnum uint16, h heapHeader, size int) (tuple, error) {
	if offnum > page.MaxHeapTuples {
		return nil, page.ErrOffset
	}
	b, err := p.Place(offnum, tupleHeader+size)
	if err != nil {
		return nil, err
	}
	t := tuple(b)
	clear(t[:tupleHeader])
	t.setInfo2(h.info2)
	t.setInfo(h.info)
	t[22] = h.hoff
	t.setXmin(c.rec.XID)
	t.setCID()
	t.setCTID(c.blk.Block, offnum)
	return t, nil
}

// setPrunable keeps the oldest transaction whose tuples may be pruned
// (PageSetPrunable).
func setPrunable(p *page.Page, xid uint32) {
	if old := p.PruneXID(); old == 0 || xidBefore(xid, old) {
		p.SetPruneXID(xid)
	}
}

const firstNormalXID = 3

// xidBefore compares transaction ids modulo 2^32, those that are special before
// all others (TransactionIdPrecedes).
func xidBefore(a, b uint32) bool {
	if a < firstNormalXID || b < firstNormalXID {
		return a < b
	}
	return int32(a-b) < 0
}
