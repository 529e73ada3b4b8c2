package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of the resource manager Hash (src/include/access/hash_xlog.h).
const (
	hashInitMetaPage      = 0x00
	hashInitBitmapPage    = 0x10
	hashInsert            = 0x20
	hashAddOverflowPage   = 0x30
	hashSplitAllocatePage = 0x40
	hashSplitPage         = 0x50
	hashSplitComplete     = 0x60
	hashMovePageContents  = 0x70
	hashSqueezePage       = 0x80
	hashDelete            = 0x90
	hashSplitCleanup      = 0xA0
	hashUpdateMetaPage    = 0xB0
	hashVacuumOnePage     = 0xC0
)

// redoHash is hash_redo (src/backend/access/hash/hash_xlog.c).
func redoHash(c *ctx, p *page.Page) error {
	r := walrecord.NewCursor(c.main)
	switch c.rec.Op() {
	case hashInitMetaPage:
		return redoHashInitMeta(c, p, r)
	case hashInitBitmapPage:
		return redoHashInitBitmap(c, p, r)
	case hashInsert:
		return redoHashInsert(c, p, r)
	case hashAddOverflowPage:
		return redoHashAddOverflow(c, p, r)
	case hashSplitAllocatePage:
		return redoHashSplitAllocate(c, p, r)
	case hashSplitPage:
		return errNoRedo // Always an image.
	case hashSplitComplete:
		return redoHashSplitComplete(c, p, r)
	case hashMovePageContents:
		return redoHashMove(c, p, r)
	case hashSqueezePage:
		return redoHashSqueeze(c, p, r)
	case hashDelete:
		return redoHashDelete(c, p, r)
	case hashSplitCleanup:
		if c.blk.ID == 0 {
			return changeHashFlags(p, hashNeedsCleanup, 0)
		}
		return errNoRedo
	case hashUpdateMetaPage:
		tuples := r.Bytes(8)
		if err := checkRead(&r); err != nil {
			return err
		}
		if c.blk.ID != 0 {
			return errNoRedo
		}
		return setHashMeta(p, offHashTuples, tuples)
	case hashVacuumOnePage:
		return redoHashVacuumOnePage(c, p, r)
	}
	return errUnknownOp
}

// restoredHash does what a bucket split does to its buckets even when they came
// as images.
func restoredHash(c *ctx, p *page.Page) error {
	switch c.rec.Op() {
	case hashSplitAllocatePage:
		if c.blk.ID == 0 {
			return redoHashSplitAllocate(c, p, walrecord.NewCursor(c.main))
		}
	case hashSplitComplete:
		return redoHashSplitComplete(c, p, walrecord.NewCursor(c.main))
	}
	return nil
}

// redoHashInsert is hash_xlog_insert.
func redoHashInsert(c *ctx, p *page.Page, r walrecord.Cursor) error {
	offnum := r.U16()
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0:
		return p.Insert(offnum, c.blk.Data)
	case 1:
		return addHashTuples(p, 1)
	}
	return errNoRedo
}

// redoHashDelete is hash_xlog_delete.
func redoHashDelete(c *ctx, p *page.Page, r walrecord.Cursor) error {
	clearDead := r.U8() != 0
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0: // The primary page of the bucket, to lock it.
		c.stamp = false
		return nil
	case 1:
		if err := p.MultiDelete(c.blk.Data); err != nil {
			return err
		}
		if clearDead {
			return changeHashFlags(p, hashHasDead, 0)
		}
		return nil
	}
	return errNoRedo
}

// redoHashVacuumOnePage is hash_xlog_vacuum_one_page.
func redoHashVacuumOnePage(c *ctx, p *page.Page, r walrecord.Cursor) error {
	r.Skip(4) // The conflict horizon: for standbys.
	n := int(r.U16())
	r.Skip(2) // Until 15 n has 4 bytes, since 16 isCatalogRel.
	offnums := page.OffsetList(r.Bytes(2 * n))
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0:
		if err := p.MultiDelete(offnums); err != nil {
			return err
		}
		return changeHashFlags(p, hashHasDead, 0)
	case 1:
		return addHashTuples(p, -n)
	}
	return errNoRedo
}

// redoHashMove is hash_xlog_move_page_contents.
func redoHashMove(c *ctx, p *page.Page, r walrecord.Cursor) error {
	n := int(r.U16())
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0: // The primary page of the bucket, to lock it.
		c.stamp = false
		return nil
	case 1:
		return insertHashTuples(p, n, c.blk.Data)
	case 2:
		return p.MultiDelete(c.blk.Data)
	}
	return errNoRedo
}

// insertHashTuples inserts the tuples in data, behind their n offset numbers.
func insertHashTuples(p *page.Page, n int, data []byte) error {
	r := walrecord.NewCursor(data)
	offnums := page.OffsetList(r.Bytes(2 * n))
	for k := range offnums.Len() {
		tuple := takeAlignedIndexTuple(&r)
		if err := checkRead(&r); err != nil {
			return err
		}
		if err := p.Insert(offnums.At(k), tuple); err != nil {
			return err
		}
	}
	if len(r.Rest) > 0 {
		return errBadRecord
	}
	return checkRead(&r)
}

// redoHashSqueeze is hash_xlog_squeeze_page: an overflow page's tuples go to an
// earlier page of the bucket, and it is freed.
func redoHashSqueeze(c *ctx, p *page.Page, r walrecord.Cursor) error {
	prev, next := r.U32(), r.U32()
	n, samePrimary, samePrev := int(r.U16()), r.U8() != 0, r.U8() != 0
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0: // The primary page of the bucket, to lock it.
		c.stamp = false
		return nil
	case 1:
		// Newer minors name the page even if it only has to be locked.
		c.stamp = n > 0 || samePrev || !samePrimary
		if n > 0 {
			if err := insertHashTuples(p, n, c.blk.Data); err != nil {
				return err
			}
		}
		if samePrev {
			return setHashLink(p, offHashNext, next)
		}
		return nil
	case 2:
		return initHash(p, hashSpecial{prev: invalidBlock, next: invalidBlock, bucket: invalidBlock})
	case 3:
		return setHashLink(p, offHashNext, next)
	case 4:
		return setHashLink(p, offHashPrev, prev)
	case 5:
		return setHashBit(p, c.blk.Data, false)
	case 6:
		return setHashMeta(p, offHashFirstFree, firstBytes(c.blk.Data, 4))
	}
	return errNoRedo
}

// firstBytes is the first n bytes of b, nil if it is shorter.
func firstBytes(b []byte, n int) []byte {
	r := walrecord.NewCursor(b)
	return r.Bytes(n)
}

// setHashBit marks in a bitmap page the overflow page whose number data is as
// used or free.
func setHashBit(p *page.Page, data []byte, used bool) error {
	r := walrecord.NewCursor(data)
	bit := r.U32()
	if err := checkRead(&r); err != nil {
		return err
	}
	bitmap := p.Contents()
	at := int(bit / 8)
	if at >= len(bitmap) {
		return errBadRecord
	}
	if used {
		bitmap[at] |= 1 << (bit % 8)
	} else {
		bitmap[at] &^= 1 << (bit % 8)
	}
	return nil
}

// redoHashSplitAllocate is hash_xlog_split_allocate_page.
func redoHashSplitAllocate(c *ctx, p *page.Page, r walrecord.Cursor) error {
	bucket, oldFlag, newFlag, flags := r.U32(), r.U16(), r.U16(), r.U8()
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0:
		if err := setHashLink(p, offHashPrev, bucket); err != nil {
			return err
		}
		return changeHashFlags(p, ^uint16(0), oldFlag)
	case 1:
		return initHash(p, hashSpecial{prev: bucket, next: invalidBlock, bucket: bucket, flags: newFlag})
	case 2:
		return growHashMeta(p, bucket, flags, c.blk.Data)
	}
	return errNoRedo
}

// redoHashSplitComplete is hash_xlog_split_complete.
func redoHashSplitComplete(c *ctx, p *page.Page, r walrecord.Cursor) error {
	flags := r.U16()
	if c.blk.ID == 1 {
		flags = r.U16()
	}
	if err := checkRead(&r); err != nil {
		return err
	}
	if c.blk.ID > 1 {
		return errNoRedo
	}
	return changeHashFlags(p, ^uint16(0), flags)
}

// redoHashAddOverflow is hash_xlog_add_ovfl_page.
func redoHashAddOverflow(c *ctx, p *page.Page, r walrecord.Cursor) error {
	size, found := int(r.U16()), r.U8() != 0
	if err := checkRead(&r); err != nil {
		return err
	}
	page0, left := c.block(0), c.block(1)
	if page0 == nil || left == nil {
		return errBadRecord
	}
	switch c.blk.ID {
	case 0:
		data := walrecord.NewCursor(c.blk.Data)
		bucket := data.U32()
		if err := checkRead(&data); err != nil {
			return err
		}
		return initHash(p, hashSpecial{prev: left.Block, next: invalidBlock, bucket: bucket, flags: hashOverflow})
	case 1:
		return setHashLink(p, offHashNext, page0.Block)
	case 2:
		return setHashBit(p, c.blk.Data, true)
	case 3:
		return initHashBitmap(p, size)
	case 4:
		if err := setHashMeta(p, offHashFirstFree, firstBytes(c.blk.Data, 4)); err != nil || found {
			return err
		}
		if bitmap := c.block(3); bitmap != nil {
			if err := addHashBitmap(p, bitmap.Block); err != nil {
				return err
			}
			if err := addHashSpare(p); err != nil {
				return err
			}
		}
		return addHashSpare(p)
	}
	return errNoRedo
}

// redoHashInitBitmap is hash_xlog_init_bitmap_page: the first bitmap page, right
// behind the first buckets.
func redoHashInitBitmap(c *ctx, p *page.Page, r walrecord.Cursor) error {
	size := int(r.U16())
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0:
		return initHashBitmap(p, size)
	case 1:
		meta, err := hashMeta(p)
		if err != nil {
			return err
		}
		return addHashBitmap(p, binary.LittleEndian.Uint32(meta[offHashMaxBucket:])+2)
	}
	return errNoRedo
}
