package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// heapUpdate is xl_heap_update.
type heapUpdate struct {
	oldXmax   uint32
	oldOffnum uint16
	infobits  uint8
	flags     uint8
	newXmax   uint32
	newOffnum uint16
}

// redoHeapUpdate: block 0 gets the new version; the old one is on block 1, or on
// block 0 too when there is no block 1.
func redoHeapUpdate(c *ctx, p *page.Page) error {
	m := walrecord.NewCursor(c.main)
	u := heapUpdate{m.U32(), m.U16(), m.U8(), m.U8(), m.U32(), m.U16()}
	if m.Bad {
		return ErrTruncated
	}
	var old tuple
	if c.blk.ID == 1 || c.block(1) == nil {
		target := c.block(0)
		if target == nil {
			return errBadRecord
		}
		var err error
		if old, err = redoOldVersion(c, p, &u, target.Block); err != nil {
			return err
		}
	}
	if c.blk.ID != 0 {
		return nil
	}
	return redoNewVersion(c, p, &u, old)
}

func redoOldVersion(c *ctx, p *page.Page, u *heapUpdate, newBlock uint32) (tuple, error) {
	t, err := heapTuple(p, u.oldOffnum)
	if err != nil {
		return nil, err
	}
	t.setXmaxBits(u.infobits)
	t.setHot(c.op() == opHotUpdate)
	t.setXmax(u.oldXmax)
	t.setCID()
	t.setCTID(newBlock, u.newOffnum)
	setPrunable(p, c.rec.XID)
	if u.flags&flagVisibleCleared != 0 {
		p.ClearFlag(page.FlagAllVisible)
	}
	return t, nil
}

// redoNewVersion adds the new version. Its beginning and end may be those of
// old, which is on the same page then; the null bitmap never is.
func redoNewVersion(c *ctx, p *page.Page, u *heapUpdate, old tuple) error {
	d := walrecord.NewCursor(c.blk.Data)
	prefix, suffix := 0, 0
	if u.flags&flagPrefix != 0 {
		prefix = int(d.U16())
	}
	if u.flags&flagSuffix != 0 {
		suffix = int(d.U16())
	}
	h := readHeapHeader(&d)
	var bitmap []byte
	if prefix > 0 {
		bitmap = d.Bytes(int(h.hoff) - tupleHeader)
	}
	if d.Bad {
		return ErrTruncated
	}
	var head, tail []byte
	if prefix > 0 || suffix > 0 {
		if old == nil || old.hoff()+prefix > len(old) || suffix > len(old) {
			return errBadPage
		}
		head, tail = old[old.hoff():old.hoff()+prefix], old[len(old)-suffix:]
	}
	if c.rec.Info&infoInit != 0 {
		p.Init(0)
	}
	t, err := c.place(p, u.newOffnum, h, len(bitmap)+prefix+len(d.Rest)+suffix)
	if err != nil {
		return err
	}
	t.setXmax(u.newXmax)
	at := tupleHeader
	at += copy(t[at:], bitmap)
	at += copy(t[at:], head)
	at += copy(t[at:], d.Rest)
	copy(t[at:], tail)
	if u.flags&flagNewVisibleCleared != 0 {
		p.ClearFlag(page.FlagAllVisible)
	}
	return nil
}
