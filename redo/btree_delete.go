package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// redoBtreeDelete is btree_xlog_delete and btree_xlog_vacuum: r is at the two
// counts of the main data.
func redoBtreeDelete(c *ctx, p *page.Page, r walrecord.Cursor) error {
	if c.blk.ID != 0 {
		return errNoRedo
	}
	nDeleted, nUpdated := int(r.U16()), int(r.U16())
	if err := checkRead(&r); err != nil {
		return err
	}
	r = walrecord.NewCursor(c.blk.Data)
	deleted := page.OffsetList(r.Bytes(2 * nDeleted))
	updated := page.OffsetList(r.Bytes(2 * nUpdated))
	if err := checkRead(&r); err != nil {
		return err
	}
	for k := range updated.Len() {
		drop := page.OffsetList(r.Bytes(2 * int(r.U16())))
		if err := checkRead(&r); err != nil {
			return err
		}
		if err := dropFromPosting(p, updated.At(k), drop); err != nil {
			return err
		}
	}
	if err := p.MultiDelete(deleted); err != nil {
		return err
	}
	special, err := getBtreeSpecial(p)
	if err != nil {
		return err
	}
	special.flags &^= btreeHasGarbage
	if c.rec.Op() == btreeVacuum && c.major() >= 18 {
		special.cycle = 0
	}
	return special.put(p)
}

// btreeMaxItem is above the size of any leaf tuple (BTMaxItemSize).
const btreeMaxItem = page.Size / 3

// dropFromPosting removes the TIDs with these indexes, which rise, from a
// posting list (btree_xlog_updates, _bt_update_posting).
func dropFromPosting(p *page.Page, offnum uint16, drop page.OffsetList) error {
	tuple, err := indexItem(p, int(offnum))
	if err != nil {
		return err
	}
	key, tids, err := btreePosting(tuple)
	if err != nil {
		return err
	}
	n := len(tids)/lenTID - drop.Len()
	if n < 1 || drop.Len() < 1 {
		return errBadRecord
	}
	size := btreeFormedSize(key, n)
	if size > btreeMaxItem {
		return errBadPage
	}
	var buf [btreeMaxItem]byte
	place := formBtreeTuple(buf[:size], key, n)
	next := 0
	for k := range len(tids) / lenTID {
		if next < drop.Len() && int(drop.At(next)) == k {
			next++
			continue
		}
		place = place[copy(place, tids[k*lenTID:(k+1)*lenTID]):]
	}
	if next != drop.Len() {
		return errBadRecord
	}
	return p.Overwrite(offnum, buf[:size])
}

// redoBtreeHalfDead is btree_xlog_mark_page_halfdead: the first stage of
// deleting a page.
func redoBtreeHalfDead(c *ctx, p *page.Page) error {
	r := walrecord.NewCursor(c.main)
	offnum := int(r.U16())
	r.Skip(2 + 4) // Padding, the leaf's block number.
	left, right, top := r.U32(), r.U32(), r.U32()
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0:
		return initBtreeHalfDead(p, left, right, top)
	case 1:
		next, err := indexItem(p, offnum+1)
		if err != nil {
			return err
		}
		tuple, err := indexItem(p, offnum)
		if err != nil {
			return err
		}
		putBlockID(tuple, blockID(next))
		return p.Delete(uint16(offnum + 1))
	}
	return errNoRedo
}

// initBtreeHalfDead makes p a leaf without items; its high key names the
// topmost page of the branch that goes with it.
func initBtreeHalfDead(p *page.Page, left, right, top uint32) error {
	if err := initBtree(p, btreeSpecial{prev: left, next: right, flags: btreeHalfDead | btreeLeaf}); err != nil {
		return err
	}
	var key [lenIndexTuple]byte
	putTupleID(key[:], top, 0)
	binary.LittleEndian.PutUint16(key[offIndexInfo:], indexAltTID|lenIndexTuple)
	return p.Append(key[:])
}

// redoBtreeUnlink is btree_xlog_unlink_page: the second stage.
func redoBtreeUnlink(c *ctx, p *page.Page) error {
	r := walrecord.NewCursor(c.main)
	left, right, level := r.U32(), r.U32(), r.U32()
	r.Skip(4)
	safeXID := r.Bytes(8)
	leafLeft, leafRight, leafTop := r.U32(), r.U32(), r.U32()
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0:
		s := btreeSpecial{prev: left, next: right, level: level, flags: btreeDeleted | btreeHasFullXID}
		if level == 0 {
			s.flags |= btreeLeaf
		}
		if err := initBtree(p, s); err != nil {
			return err
		}
		p.SetLower(page.HeaderSize + copy(p.Contents(), safeXID)) // Nothing may reuse the page before.
		return nil
	case 1, 2:
		s, err := getBtreeSpecial(p)
		if err != nil {
			return err
		}
		if c.blk.ID == 1 {
			s.next = right
		} else {
			s.prev = left
		}
		return s.put(p)
	case 3:
		return initBtreeHalfDead(p, leafLeft, leafRight, leafTop)
	case 4:
		return rebuildBtreeMeta(p, c.blk.Data)
	}
	return errNoRedo
}
