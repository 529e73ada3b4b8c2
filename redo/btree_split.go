package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// redoBtreeSplit is btree_xlog_split; newLeft says whether the item that made
// the page split goes to its left half.
func redoBtreeSplit(c *ctx, p *page.Page, newLeft bool) error {
	r := walrecord.NewCursor(c.main)
	s := btreeSplit{newLeft: newLeft, level: r.U32()}
	s.firstRight, s.newItem, s.posting = int(r.U16()), int(r.U16()), int(r.U16())
	if err := checkRead(&r); err != nil {
		return err
	}
	left, right := c.block(0), c.block(1)
	if left == nil || right == nil {
		return errBadRecord
	}
	switch c.blk.ID {
	case 0:
		return s.left(p, right.Block, c.blk.Data)
	case 1:
		special := btreeSpecial{prev: left.Block, level: s.level}
		if sibling := c.block(2); sibling != nil {
			special.next = sibling.Block
		}
		if s.level == 0 {
			special.flags = btreeLeaf
		}
		if err := initBtree(p, special); err != nil {
			return err
		}
		return restoreBtreeItems(p, c.blk.Data)
	case 2:
		special, err := getBtreeSpecial(p)
		if err != nil {
			return err
		}
		special.prev = right.Block
		return special.put(p)
	case 3:
		return btreeFinishSplit(p)
	}
	return errNoRedo
}

// btreeSplit is xl_btree_split and the operation.
type btreeSplit struct {
	newLeft    bool
	level      uint32
	firstRight int // of the old page's items, the first that goes right
	newItem    int // where the new item belongs
	posting    int // if not 0, the new item's place in the posting list before it
}

// left rebuilds the page that was split from its own items and data: the new
// item, if it is needed here, and the new high key.
func (s *btreeSplit) left(p *page.Page, right uint32, data []byte) error {
	special, err := getBtreeSpecial(p)
	if err != nil {
		return err
	}
	r := walrecord.NewCursor(data)
	var item []byte
	if s.newLeft || s.posting != 0 {
		item = takeAlignedIndexTuple(&r)
	}
	highKey := takeAlignedIndexTuple(&r)
	if err := checkRead(&r); err != nil {
		return err
	}
	var half page.Page
	if err := initBtree(&half, special); err != nil {
		return err
	}
	if err := half.Append(highKey); err != nil {
		return err
	}
	if err := s.keep(&half, p, special.firstData(), item); err != nil {
		return err
	}
	special.flags = btreeIncompleteSplit
	if s.level == 0 {
		special.flags |= btreeLeaf
	}
	special.next = right
	special.cycle = 0
	*p = half
	return special.put(p)
}

// keep copies to half the items of old from first on that stay left, and item
// among them if it is new there.
func (s *btreeSplit) keep(half, old *page.Page, first int, item []byte) error {
	if s.firstRight > old.MaxOffset()+1 || s.newLeft && (s.newItem < first || s.newItem > s.firstRight) {
		return page.ErrOffset
	}
	var last tid // of the posting list that the new item falls into
	for k := first; k <= s.firstRight; k++ {
		if s.newLeft && k == s.newItem {
			if err := half.Append(item); err != nil {
				return err
			}
			if s.posting != 0 {
				if err := setLastTID(half, last); err != nil {
					return err
				}
			}
		}
		if k == s.firstRight {
			break
		}
		tuple, err := old.Item(uint16(k))
		if err != nil {
			return err
		}
		if err := half.Append(tuple); err != nil {
			return err
		}
		if s.posting != 0 && k == s.newItem-1 {
			if last, err = insertIntoPosting(half, half.MaxOffset(), s.posting, item); err != nil {
				return err
			}
		}
	}
	return nil
}
