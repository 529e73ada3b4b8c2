package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// prune is what pruning does to line pointers.
type prune struct {
	redirected page.OffsetList // pairs: from, to
	dead       page.OffsetList
	unused     page.OffsetList
}

// execute changes the line pointers (heap_page_prune_execute without the
// repacking).
func (x *prune) execute(p *page.Page) error {
	for i := 0; i+1 < x.redirected.Len(); i += 2 {
		to := page.MakePointer(int(x.redirected.At(i+1)), page.Redirect, 0)
		if err := p.SetPointer(x.redirected.At(i), to); err != nil {
			return err
		}
	}
	for i := range x.dead.Len() {
		if err := p.SetPointer(x.dead.At(i), page.MakePointer(0, page.Dead, 0)); err != nil {
			return err
		}
	}
	return setUnused(p, x.unused)
}

func setUnused(p *page.Page, offnums page.OffsetList) error {
	for i := range offnums.Len() {
		if err := p.SetPointer(offnums.At(i), 0); err != nil {
			return err
		}
	}
	return nil
}

// redoPrune is PRUNE of 14 to 16. Since 15 the array of line pointers shrinks.
func redoPrune(c *ctx, p *page.Page) error {
	m := walrecord.NewCursor(c.main)
	m.Skip(4)
	redirected, dead := int(m.U16()), int(m.U16())
	d := walrecord.NewCursor(c.blk.Data)
	x := prune{redirected: d.Bytes(4 * redirected), dead: d.Bytes(2 * dead), unused: d.Rest}
	if m.Bad || d.Bad {
		return ErrTruncated
	}
	if err := x.execute(p); err != nil {
		return err
	}
	return p.Repair(c.major() >= 15)
}

// redoVacuum is VACUUM of 14 to 16: dead line pointers become unused.
func redoVacuum(c *ctx, p *page.Page) error {
	m := walrecord.NewCursor(c.main)
	n := int(m.U16())
	d := walrecord.NewCursor(c.blk.Data)
	unused := page.OffsetList(d.Bytes(2 * n))
	if m.Bad || d.Bad {
		return ErrTruncated
	}
	if err := setUnused(p, unused); err != nil {
		return err
	}
	return p.TruncatePointers()
}

// Flags of a prune record since 17 (xl_heap_prune).
const (
	pruneCleanupLock  = 0x04 // tuples move
	pruneConflict     = 0x08
	pruneFreezePlans  = 0x10
	pruneRedirections = 0x20
	pruneDeadItems    = 0x40
	pruneUnusedItems  = 0x80
)

// redoPrune17 is the one record of pruning, freezing and both passes of VACUUM.
func redoPrune17(c *ctx, p *page.Page) error {
	m := walrecord.NewCursor(c.main)
	m.Skip(1)
	flags := m.U8()
	d := walrecord.NewCursor(c.blk.Data)
	var plans []byte
	var x prune
	if flags&pruneFreezePlans != 0 {
		n := int(d.U16())
		d.Skip(2)
		plans = d.Bytes(freezePlanSize * n)
	}
	if flags&pruneRedirections != 0 {
		x.redirected = d.Bytes(4 * int(d.U16()))
	}
	if flags&pruneDeadItems != 0 {
		x.dead = d.Bytes(2 * int(d.U16()))
	}
	if flags&pruneUnusedItems != 0 {
		x.unused = d.Bytes(2 * int(d.U16()))
	}
	if m.Bad || d.Bad {
		return ErrTruncated
	}
	if err := x.execute(p); err != nil {
		return err
	}
	if len(x.redirected)+len(x.dead)+len(x.unused) > 0 {
		var err error
		if flags&pruneCleanupLock != 0 {
			err = p.Repair(true)
		} else {
			err = p.TruncatePointers()
		}
		if err != nil {
			return err
		}
	}
	return freezePlanned(p, plans, d.Rest)
}

// freezePlanSize is the size of xl_heap_freeze_plan and xlhp_freeze_plan, and of
// the xl_heap_freeze_tuple of 14 and 15.
const freezePlanSize = 12

// redoFreeze is FREEZE_PAGE of 14 to 16: a list of tuples before 16, then plans.
func redoFreeze(c *ctx, p *page.Page) error {
	m := walrecord.NewCursor(c.main)
	m.Skip(4)
	n := int(m.U16())
	d := walrecord.NewCursor(c.blk.Data)
	items := d.Bytes(freezePlanSize * n)
	if m.Bad || d.Bad {
		return ErrTruncated
	}
	if c.major() >= 16 {
		return freezePlanned(p, items, d.Rest)
	}
	for ; len(items) > 0; items = items[freezePlanSize:] {
		f := freeze{
			xmax:  binary.LittleEndian.Uint32(items),
			info2: binary.LittleEndian.Uint16(items[6:]), info: binary.LittleEndian.Uint16(items[8:]), flags: items[10],
		}
		if err := f.execute(p, binary.LittleEndian.Uint16(items[4:])); err != nil {
			return err
		}
	}
	return nil
}

// freezePlanned executes plans on the tuples that offnums lists in their order.
func freezePlanned(p *page.Page, plans []byte, offnums page.OffsetList) error {
	at := 0
	for ; len(plans) > 0; plans = plans[freezePlanSize:] {
		f := freeze{
			xmax:  binary.LittleEndian.Uint32(plans),
			info2: binary.LittleEndian.Uint16(plans[4:]), info: binary.LittleEndian.Uint16(plans[6:]), flags: plans[8],
		}
		n := int(binary.LittleEndian.Uint16(plans[10:]))
		if n > offnums.Len()-at {
			return ErrTruncated
		}
		for range n {
			if err := f.execute(p, offnums.At(at)); err != nil {
				return err
			}
			at++
		}
	}
	return nil
}

// freeze is what freezing makes of a tuple's header.
type freeze struct {
	xmax        uint32
	info2, info uint16
	flags       uint8
}

// Flags of a freeze plan, about old VACUUM FULL's t_xvac.
const (
	freezeXvac  = 0x02
	invalidXvac = 0x04
	frozenXID   = 2
)

func (f *freeze) execute(p *page.Page, offnum uint16) error {
	t, err := heapTuple(p, offnum)
	if err != nil {
		return err
	}
	t.setXmax(f.xmax)
	if f.flags&freezeXvac != 0 {
		t.setXvac(frozenXID)
	}
	if f.flags&invalidXvac != 0 {
		t.setXvac(0)
	}
	t.setInfo(f.info)
	t.setInfo2(f.info2)
	return nil
}
