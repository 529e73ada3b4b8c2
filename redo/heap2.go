package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of the heap's second resource manager. The three that prune mean
// other things before and since version 17.
const (
	opPrune       = 0x10 // 17: on access
	opVacuum      = 0x20 // 17: first pass of VACUUM
	opFreeze      = 0x30 // 17: second pass of VACUUM
	opVisible     = 0x40
	opMultiInsert = 0x50
	opLockUpdated = 0x60
)

// redoHeap2 is heap2_redo.
func redoHeap2(c *ctx, p *page.Page) error {
	op := c.op()
	if op == opVisible {
		return redoVisible(c, p)
	}
	if c.blk.Fork == walrecord.ForkVM {
		return redoMapClear(c, p)
	}
	switch {
	case op == opMultiInsert:
		return redoMultiInsert(c, p)
	case op == opLockUpdated:
		return redoLockUpdated(c, p)
	case c.major() >= 17 && op >= opPrune && op <= opFreeze:
		return redoPrune17(c, p)
	case op == opPrune:
		return redoPrune(c, p)
	case op == opVacuum:
		return redoVacuum(c, p)
	case op == opFreeze:
		return redoFreeze(c, p)
	}
	return errUnknownOp
}

func redoMultiInsert(c *ctx, p *page.Page) error {
	m := walrecord.NewCursor(c.main)
	flags := m.U8()
	m.Skip(1)
	n := int(m.U16())
	init := c.rec.Info&infoInit != 0
	var offsets page.OffsetList
	if !init {
		offsets = m.Bytes(2 * n)
	}
	if m.Bad {
		return ErrTruncated
	}
	if init {
		p.Init(0)
	}
	d := walrecord.NewCursor(c.blk.Data)
	for i := range n {
		offnum := uint16(i + 1)
		if !init {
			offnum = offsets.At(i)
		}
		if (len(c.blk.Data)-len(d.Rest))%2 != 0 {
			d.Skip(1)
		}
		size := int(d.U16())
		h := readHeapHeader(&d)
		data := d.Bytes(size)
		if d.Bad {
			return ErrTruncated
		}
		t, err := c.place(p, offnum, h, size)
		if err != nil {
			return err
		}
		copy(t[tupleHeader:], data)
	}
	if len(d.Rest) != 0 {
		return errBadRecord
	}
	if flags&flagVisibleCleared != 0 {
		p.ClearFlag(page.FlagAllVisible)
	}
	if flags&flagFrozenSet != 0 {
		p.SetFlag(page.FlagAllVisible)
	}
	return nil
}

func redoLockUpdated(c *ctx, p *page.Page) error {
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
	t.setXmax(xmax)
	return nil
}

// redoVisible: block 0 is the map's page, block 1 the heap's, which is stamped
// only where hints are logged.
func redoVisible(c *ctx, p *page.Page) error {
	m := walrecord.NewCursor(c.main)
	m.Skip(4)
	flags := m.U8()
	if m.Bad {
		return ErrTruncated
	}
	if c.blk.ID == 0 {
		return redoMapSet(c, p, flags)
	}
	p.SetFlag(page.FlagAllVisible)
	c.stamp = c.opt.WALLogHints || c.opt.DataChecksums
	return nil
}
