package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of the resource manager Gin (src/include/access/ginxlog.h).
const (
	ginCreatePostingTree  = 0x10
	ginInsert             = 0x20
	ginSplit              = 0x30
	ginVacuumPage         = 0x40
	ginDeletePage         = 0x50
	ginUpdateMetaPage     = 0x60
	ginInsertListPage     = 0x70
	ginDeleteListPages    = 0x80
	ginVacuumDataLeafPage = 0x90
)

// Bits of the flags of ginxlogInsert and ginxlogSplit.
const (
	ginInsertIsData = 0x01
	ginInsertIsLeaf = 0x02
)

// redoGin is gin_redo (src/backend/access/gin/ginxlog.c).
func redoGin(c *ctx, p *page.Page) error {
	r := walrecord.NewCursor(c.main)
	switch c.rec.Op() {
	case ginCreatePostingTree:
		return redoGinCreatePostingTree(c, p, r)
	case ginInsert:
		return redoGinInsert(c, p, r)
	case ginSplit:
		if c.blk.ID == 3 { // The halves and the new root are always images.
			return ginFinishSplit(p)
		}
		return errNoRedo
	case ginVacuumPage:
		return errNoRedo // Always an image.
	case ginDeletePage:
		return redoGinDeletePage(c, p, r)
	case ginUpdateMetaPage:
		return redoGinUpdateMeta(c, p, r)
	case ginInsertListPage:
		return redoGinInsertListPage(c, p, r)
	case ginDeleteListPages:
		return redoGinDeleteListPages(c, p, r)
	case ginVacuumDataLeafPage:
		if c.blk.ID == 0 {
			return recompressGinLeaf(p, c.blk.Data)
		}
		return errNoRedo
	}
	return errUnknownOp
}

// redoGinCreatePostingTree is ginRedoCreatePTree.
func redoGinCreatePostingTree(c *ctx, p *page.Page, r walrecord.Cursor) error {
	segments := r.Bytes(int(r.U32()))
	if err := checkRead(&r); err != nil {
		return err
	}
	if c.blk.ID != 0 {
		return errNoRedo
	}
	initGin(p, ginData|ginLeaf|ginCompressed)
	payload := ginPayload(p)
	if len(segments) > len(payload) {
		return errBadRecord
	}
	setGinPayload(p, copy(payload, segments))
	return nil
}

// redoGinInsert is ginRedoInsert.
func redoGinInsert(c *ctx, p *page.Page, r walrecord.Cursor) error {
	flags := r.U16()
	leaf := flags&ginInsertIsLeaf != 0
	right := uint32(invalidBlock)
	if !leaf {
		r.Skip(4) // The left child.
		if b := r.Bytes(4); b != nil {
			right = blockID(b)
		}
	}
	if err := checkRead(&r); err != nil {
		return err
	}
	switch {
	case c.blk.ID == 1 && !leaf:
		return ginFinishSplit(p)
	case c.blk.ID != 0:
		return errNoRedo
	case flags&ginInsertIsData == 0:
		return insertGinEntry(p, right, c.blk.Data)
	case leaf:
		return recompressGinLeaf(p, c.blk.Data)
	}
	r = walrecord.NewCursor(c.blk.Data)
	offnum := int(r.U16())
	item := r.Bytes(lenGinPostingItem)
	if err := checkRead(&r); err != nil {
		return err
	}
	return insertGinPostingItem(p, offnum, item, right)
}

// insertGinEntry is ginRedoInsertEntry: data is ginxlogInsertEntry.
func insertGinEntry(p *page.Page, right uint32, data []byte) error {
	r := walrecord.NewCursor(data)
	offnum := r.U16()
	isDelete := r.U8() != 0
	r.Skip(1)
	tuple := takeIndexTuple(&r)
	if err := checkRead(&r); err != nil {
		return err
	}
	if right != invalidBlock { // The item here led to a page that was split: it now leads to the right half.
		item, err := indexItem(p, int(offnum))
		if err != nil {
			return err
		}
		putTupleID(item, right, 0)
	}
	if isDelete {
		if err := p.Delete(offnum); err != nil {
			return err
		}
	}
	return p.Insert(offnum, tuple)
}

// redoGinDeletePage is ginRedoDeletePage.
func redoGinDeletePage(c *ctx, p *page.Page, r walrecord.Cursor) error {
	offnum := int(r.U16())
	r.Skip(2)
	right, xid := r.U32(), r.U32()
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0:
		p.SetPruneXID(xid) // Nothing may reuse the page before.
		return changeGin(p, func(s ginSpecial) ginSpecial {
			s.flags |= ginDeleted
			return s
		})
	case 1:
		return deleteGinPostingItem(p, offnum)
	case 2:
		return setGinRight(p, right)
	}
	return errNoRedo
}

// redoGinUpdateMeta is ginRedoUpdateMetapage.
func redoGinUpdateMeta(c *ctx, p *page.Page, r walrecord.Cursor) error {
	r.Skip(12 + 4) // The relation, padding.
	meta := r.Bytes(lenGinMeta)
	prevTail, newRight, n := r.U32(), r.U32(), r.U32()
	if err := checkRead(&r); err != nil {
		return err
	}
	switch {
	case c.blk.ID == 0:
		return rebuildGinMeta(p, meta)
	case c.blk.ID != 1:
		return errNoRedo
	case n > 0:
		if err := appendIndexTuples(p, c.blk.Data); err != nil {
			return err
		}
		return changeGin(p, func(s ginSpecial) ginSpecial {
			s.maxoff++ // It counts heap rows.
			return s
		})
	case prevTail != invalidBlock:
		return setGinRight(p, newRight)
	}
	return errBadRecord
}

// redoGinInsertListPage is ginRedoInsertListPage.
func redoGinInsertListPage(c *ctx, p *page.Page, r walrecord.Cursor) error {
	right := r.U32()
	if err := checkRead(&r); err != nil {
		return err
	}
	if c.blk.ID != 0 {
		return errNoRedo
	}
	initGin(p, ginList)
	special := ginSpecial{right: right, flags: ginList}
	if right == invalidBlock { // The tail of a sublist holds whole heap rows.
		special.flags |= ginListFullRow
		special.maxoff = 1
	}
	if err := special.put(p); err != nil {
		return err
	}
	return appendIndexTuples(p, c.blk.Data)
}

// redoGinDeleteListPages is ginRedoDeleteListPages.
func redoGinDeleteListPages(c *ctx, p *page.Page, r walrecord.Cursor) error {
	meta := r.Bytes(lenGinMeta)
	if err := checkRead(&r); err != nil {
		return err
	}
	if c.blk.ID == 0 {
		return rebuildGinMeta(p, meta)
	}
	initGin(p, ginDeleted)
	return nil
}
