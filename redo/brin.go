package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of the resource manager BRIN (src/include/access/brin_xlog.h).
const (
	brinCreateIndex    = 0x00
	brinInsert         = 0x10
	brinUpdate         = 0x20
	brinSamePageUpdate = 0x30
	brinRevmapExtend   = 0x40
	brinDesummarize    = 0x50
)

// Kinds of BRIN pages and their constants (src/include/access/brin_page.h).
const (
	brinTypeMeta    = 0xF091
	brinTypeRevmap  = 0xF092
	brinTypeRegular = 0xF093

	lenBRINSpecial = 8
	offBRINType    = 6 // in the special area

	brinMagic         = 0xA8109CFA
	lenBRINMeta       = 16 // magic, version, pages per range, last revmap page
	offBRINLastRevmap = 12

	// brinRevmapSlots is the number of TIDs on a revmap page
	// (REVMAP_PAGE_MAXITEMS).
	brinRevmapSlots = (page.Size - page.HeaderSize - lenBRINSpecial) / lenTID
)

// redoBRIN is brin_redo (src/backend/access/brin/brin_xlog.c).
func redoBRIN(c *ctx, p *page.Page) error {
	r := walrecord.NewCursor(c.main)
	switch c.op() {
	case brinCreateIndex:
		return initBRINMeta(c, p, r)
	case brinInsert:
		return redoBRINInsert(c, p, r)
	case brinUpdate:
		oldOffnum := r.U16()
		r.Skip(2)
		if c.blk.ID != 2 {
			return redoBRINInsert(c, p, r)
		}
		if err := checkRead(&r); err != nil {
			return err
		}
		return p.DeleteNoCompact(oldOffnum)
	case brinSamePageUpdate:
		offnum := r.U16()
		if err := checkRead(&r); err != nil {
			return err
		}
		if c.blk.ID != 0 {
			return errNoRedo
		}
		return p.Overwrite(offnum, c.blk.Data)
	case brinRevmapExtend:
		return redoBRINRevmapExtend(c, p, r)
	case brinDesummarize:
		return redoBRINDesummarize(c, p, r)
	}
	return errUnknownOp
}

// initBRIN is brin_page_init.
func initBRIN(p *page.Page, kind uint16) {
	p.Init(lenBRINSpecial)
	binary.LittleEndian.PutUint16(p[page.Size-lenBRINSpecial+offBRINType:], kind)
}

// initBRINMeta is brin_xlog_createidx.
func initBRINMeta(c *ctx, p *page.Page, r walrecord.Cursor) error {
	perRange, version := r.U32(), r.U16()
	if err := checkRead(&r); err != nil {
		return err
	}
	if c.blk.ID != 0 {
		return errNoRedo
	}
	initBRIN(p, brinTypeMeta)
	meta := p.Contents()
	binary.LittleEndian.PutUint32(meta, brinMagic)
	binary.LittleEndian.PutUint32(meta[4:], uint32(version))
	binary.LittleEndian.PutUint32(meta[8:], perRange)
	p.SetLower(page.HeaderSize + lenBRINMeta)
	return nil
}

// redoBRINInsert is brin_xlog_insert_update: r is at xl_brin_insert.
func redoBRINInsert(c *ctx, p *page.Page, r walrecord.Cursor) error {
	heapBlock, perRange, offnum := r.U32(), r.U32(), r.U16()
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0:
		if c.blk.WillInit {
			initBRIN(p, brinTypeRegular)
		}
		place, err := p.Place(offnum, len(c.blk.Data))
		if err != nil {
			return err
		}
		copy(place, c.blk.Data)
		return nil
	case 1:
		regular := c.block(0)
		if regular == nil {
			return errBadRecord
		}
		return setBRINRevmap(p, heapBlock, perRange, regular.Block, offnum)
	}
	return errNoRedo
}

// redoBRINRevmapExtend is brin_xlog_revmap_extend.
func redoBRINRevmapExtend(c *ctx, p *page.Page, r walrecord.Cursor) error {
	target := r.U32()
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0:
		meta := p.Contents()
		if len(meta) < lenBRINMeta {
			return errBadPage
		}
		binary.LittleEndian.PutUint32(meta[offBRINLastRevmap:], target)
		p.SetLower(page.HeaderSize + lenBRINMeta) // Clusters from before 11 lack it.
		return nil
	case 1:
		initBRIN(p, brinTypeRevmap)
		return nil
	}
	return errNoRedo
}

// redoBRINDesummarize is brin_xlog_desummarize_page.
func redoBRINDesummarize(c *ctx, p *page.Page, r walrecord.Cursor) error {
	perRange, heapBlock, offnum := r.U32(), r.U32(), r.U16()
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0:
		return setBRINRevmap(p, heapBlock, perRange, invalidBlock, 0)
	case 1:
		return p.DeleteNoCompact(offnum)
	}
	return errNoRedo
}

// setBRINRevmap says where the summary of a heap block's range is
// (brinSetHeapBlockItemptr).
func setBRINRevmap(p *page.Page, heapBlock, perRange, block uint32, offnum uint16) error {
	if perRange == 0 {
		return errBadRecord
	}
	at := int(heapBlock/perRange%brinRevmapSlots) * lenTID
	slots := p.Contents()
	if at+lenTID > len(slots) {
		return errBadPage
	}
	putTupleID(slots[at:], block, offnum)
	return nil
}
