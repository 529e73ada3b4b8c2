package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of the resource manager Btree (src/include/access/nbtxlog.h).
const (
	btreeInsertLeaf     = 0x00
	btreeInsertUpper    = 0x10
	btreeInsertMeta     = 0x20
	btreeSplitLeft      = 0x30
	btreeSplitRight     = 0x40
	btreeInsertPost     = 0x50
	btreeDedup          = 0x60
	btreeDelete         = 0x70
	btreeUnlinkPage     = 0x80
	btreeUnlinkPageMeta = 0x90
	btreeNewRoot        = 0xA0
	btreeMarkHalfDead   = 0xB0
	btreeVacuum         = 0xC0
	btreeReusePage      = 0xD0
	btreeMetaCleanup    = 0xE0
)

// redoBtree is btree_redo (src/backend/access/nbtree/nbtxlog.c).
func redoBtree(c *ctx, p *page.Page) error {
	switch op := c.rec.Op(); op {
	case btreeInsertLeaf, btreeInsertUpper, btreeInsertMeta, btreeInsertPost:
		return redoBtreeInsert(c, p, op)
	case btreeSplitLeft, btreeSplitRight:
		return redoBtreeSplit(c, p, op == btreeSplitLeft)
	case btreeDedup:
		return redoBtreeDedup(c, p)
	case btreeDelete:
		r := walrecord.NewCursor(c.main)
		r.Skip(4) // The conflict horizon: for standbys.
		return redoBtreeDelete(c, p, r)
	case btreeVacuum:
		return redoBtreeDelete(c, p, walrecord.NewCursor(c.main))
	case btreeMarkHalfDead:
		return redoBtreeHalfDead(c, p)
	case btreeUnlinkPage, btreeUnlinkPageMeta:
		return redoBtreeUnlink(c, p)
	case btreeNewRoot:
		return redoBtreeNewRoot(c, p)
	case btreeMetaCleanup:
		if c.blk.ID == 0 {
			return rebuildBtreeMeta(p, c.blk.Data)
		}
		return errNoRedo
	case btreeReusePage:
		return errNoRedo // A conflict for standbys, without blocks.
	}
	return errUnknownOp
}

// redoBtreeInsert is btree_xlog_insert.
func redoBtreeInsert(c *ctx, p *page.Page, op uint8) error {
	upper := op == btreeInsertUpper || op == btreeInsertMeta
	switch {
	case c.blk.ID == 0:
		r := walrecord.NewCursor(c.main)
		offnum := r.U16()
		if err := checkRead(&r); err != nil {
			return err
		}
		if op == btreeInsertPost {
			return btreeInsertPosting(p, offnum, c.blk.Data)
		}
		return p.Insert(offnum, c.blk.Data)
	case c.blk.ID == 1 && upper:
		return btreeFinishSplit(p)
	case c.blk.ID == 2 && op == btreeInsertMeta:
		return rebuildBtreeMeta(p, c.blk.Data)
	}
	return errNoRedo
}

// redoBtreeNewRoot is btree_xlog_newroot.
func redoBtreeNewRoot(c *ctx, p *page.Page) error {
	r := walrecord.NewCursor(c.main)
	r.Skip(4) // The root's block number.
	level := r.U32()
	if err := checkRead(&r); err != nil {
		return err
	}
	switch {
	case c.blk.ID == 0 && level == 0:
		return initBtree(p, btreeSpecial{flags: btreeRoot | btreeLeaf})
	case c.blk.ID == 0:
		if err := initBtree(p, btreeSpecial{level: level, flags: btreeRoot}); err != nil {
			return err
		}
		return restoreBtreeItems(p, c.blk.Data)
	case c.blk.ID == 1 && level > 0:
		return btreeFinishSplit(p)
	case c.blk.ID == 2:
		return rebuildBtreeMeta(p, c.blk.Data)
	}
	return errNoRedo
}

// Offsets in BTMetaPageData, which stands at the start of the contents, and its
// constant contents.
const (
	btreeMagic         = 0x053162
	offBtreeMetaFields = 4  // version, root, level, fastroot, fastlevel, last_cleanup_num_delpages
	lenBtreeMetaFields = 24 // as in xl_btree_metadata
	offBtreeTuples     = 32 // last_cleanup_num_heap_tuples, always -1.0
	offBtreeEqualImage = 40
	lenBtreeMeta       = 48
	btreeNoTuples      = 0xBFF0_0000_0000_0000 // -1.0
)

// rebuildBtreeMeta is _bt_restore_meta: data is xl_btree_metadata.
func rebuildBtreeMeta(p *page.Page, data []byte) error {
	r := walrecord.NewCursor(data)
	fields, equalImage := r.Bytes(lenBtreeMetaFields), r.U8()
	if err := checkRead(&r); err != nil {
		return err
	}
	if err := initBtree(p, btreeSpecial{flags: btreeMeta}); err != nil {
		return err
	}
	meta := p.Contents()
	binary.LittleEndian.PutUint32(meta, btreeMagic)
	copy(meta[offBtreeMetaFields:], fields)
	binary.LittleEndian.PutUint64(meta[offBtreeTuples:], btreeNoTuples)
	meta[offBtreeEqualImage] = equalImage
	p.SetLower(page.HeaderSize + lenBtreeMeta)
	return nil
}
