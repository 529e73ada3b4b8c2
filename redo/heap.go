package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of the heap (src/include/access/heapam_xlog.h). infoInit says that
// the page is built from nothing.
const (
	opInsert    = 0x00
	opDelete    = 0x10
	opUpdate    = 0x20
	opHotUpdate = 0x40
	opConfirm   = 0x50
	opLock      = 0x60
	opInplace   = 0x70
	infoInit    = 0x80
)

// Flags of heap records. The first means all-frozen in lock records, and the
// old version's page in updates.
const (
	flagVisibleCleared    = 0x01
	flagNewVisibleCleared = 0x02 // update
	flagSuper             = 0x08 // delete: a speculative insertion that lost
	flagPartitionMove     = 0x10 // delete
	flagFrozenSet         = 0x20 // multi-insert
	flagPrefix            = 0x20 // update: begins as the old version
	flagSuffix            = 0x40 // update: ends as the old version
)

// t_ctid of a row that moved to another partition.
const (
	movedBlock  = 0xFFFFFFFF
	movedOffset = 0xFFFD
)

// redoHeap is heap_redo.
func redoHeap(c *ctx, p *page.Page) error {
	if c.blk.Fork == walrecord.ForkVM {
		return redoMapClear(c, p)
	}
	switch c.op() {
	case opInsert:
		return redoHeapInsert(c, p)
	case opDelete:
		return redoHeapDelete(c, p)
	case opUpdate, opHotUpdate:
		return redoHeapUpdate(c, p)
	case opConfirm:
		return redoHeapConfirm(c, p)
	case opLock:
		return redoHeapLock(c, p)
	case opInplace:
		return redoHeapInplace(c, p)
	}
	return errUnknownOp
}

func redoHeapInsert(c *ctx, p *page.Page) error {
	m := walrecord.NewCursor(c.main)
	offnum, flags := m.U16(), m.U8()
	d := walrecord.NewCursor(c.blk.Data)
	h := readHeapHeader(&d)
	if m.Bad || d.Bad {
		return ErrTruncated
	}
	if c.rec.Info&infoInit != 0 {
		p.Init(0)
	}
	t, err := c.place(p, offnum, h, len(d.Rest))
	if err != nil {
		return err
	}
	copy(t[tupleHeader:], d.Rest)
	if flags&flagVisibleCleared != 0 {
		p.ClearFlag(page.FlagAllVisible)
	}
	return nil
}

func redoHeapDelete(c *ctx, p *page.Page) error {
	m := walrecord.NewCursor(c.main)
	xmax, offnum, infobits, flags := m.U32(), m.U16(), m.U8(), m.U8()
	if m.Bad {
		return ErrTruncated
	}
	t, err := heapTuple(p, offnum)
	if err != nil {
		return err
	}
	t.setXmaxBits(infobits)
	t.setHot(false)
	if flags&flagSuper != 0 {
		t.setXmin(0)
	} else {
		t.setXmax(xmax)
	}
	t.setCID()
	setPrunable(p, c.rec.XID)
	if flags&flagVisibleCleared != 0 {
		p.ClearFlag(page.FlagAllVisible)
	}
	if flags&flagPartitionMove != 0 {
		t.setCTID(movedBlock, movedOffset)
	} else {
		t.setCTID(c.blk.Block, offnum)
	}
	return nil
}

func redoHeapConfirm(c *ctx, p *page.Page) error {
	m := walrecord.NewCursor(c.main)
	offnum := m.U16()
	if m.Bad {
		return ErrTruncated
	}
	t, err := heapTuple(p, offnum)
	if err != nil {
		return err
	}
	t.setCTID(c.blk.Block, offnum)
	return nil
}

func redoHeapLock(c *ctx, p *page.Page) error {
	m := walrecord.NewCursor(c.main)
	xmax, offnum, infobits := m.U32(), m.U16(), m.U8()
	if m.Bad {
		return ErrTruncated
	}
	t, err := heapTuple(p, offnum)
	if err != nil {
		return err
	}
	t.setXmaxBits(infobits)
	if t.lockedOnly() {
		t.setHot(false)
		t.setCTID(c.blk.Block, offnum)
	}
	t.setXmax(xmax)
	t.setCID()
	return nil
}

func redoHeapInplace(c *ctx, p *page.Page) error {
	m := walrecord.NewCursor(c.main)
	offnum := m.U16()
	if m.Bad {
		return ErrTruncated
	}
	t, err := heapTuple(p, offnum)
	if err != nil {
		return err
	}
	if len(t) != t.hoff()+len(c.blk.Data) {
		return errBadPage
	}
	copy(t[t.hoff():], c.blk.Data)
	return nil
}
