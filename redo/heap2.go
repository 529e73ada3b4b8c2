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
	m := read(c.main)
	flags := m.u8()
	m.skip(1)
	n := int(m.u16())
	init := c.rec.Info&infoInit != 0
	var offsets page.OffsetList
	if !init {
		offsets = m.bytes(2 * n)
	}
	if m.bad {
		return ErrTruncated
	}
	if init {
		p.Init(0)
	}
	d := read(c.blk.Data)
	for i := range n {
		offnum := uint16(i + 1)
		if !init {
			offnum = offsets.At(i)
		}
		if (len(c.blk.Data)-len(d.rest))%2 != 0 {
			d.skip(1)
		}
		size := int(d.u16())
		h := d.heapHeader()
		data := d.bytes(size)
		if d.bad {
			return ErrTruncated
		}
		t, err := c.place(p, offnum, h, size)
		if err != nil {
			return err
		}
		copy(t[tupleHeader:], data)
	}
	if len(d.rest) != 0 {
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
	m := read(c.main)
	xmax, offnum, infobits := m.u32(), m.u16(), m.u8()
	if m.bad {
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
	m := read(c.main)
	m.skip(4)
	flags := m.u8()
	if m.bad {
		return ErrTruncated
	}
	if c.blk.ID == 0 {
		return redoMapSet(c, p, flags)
	}
	p.SetFlag(page.FlagAllVisible)
	c.stamp = c.opt.WALLogHints || c.opt.DataChecksums
	return nil
}
