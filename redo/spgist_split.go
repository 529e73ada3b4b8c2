package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// spgistPickSplitRecord is spgxlogPickSplit and what follows it: a list of leaf
// tuples becomes an inner tuple with several lists below it.
type spgistPickSplitRecord struct {
	root          bool // the list was the whole tree
	nulls         bool
	innerIsParent bool // the inner tuple is on its parent's page
	innerOffnum   uint16
	parent, node  uint16
	state         spgistDeadMaker
	deleted       page.OffsetList
	places        page.OffsetList
	toDst         []byte // by leaf tuple: whether it goes to the destination
	inner         []byte
	leaves        walrecord.Cursor
}

func takeSPGistPickSplit(r walrecord.Cursor) (spgistPickSplitRecord, error) {
	var s spgistPickSplitRecord
	s.root = r.U8() != 0
	r.Skip(1)
	nDelete, nInsert := int(r.U16()), int(r.U16())
	r.Skip(2) // Which pages are new: the block references say it too.
	s.innerOffnum = r.U16()
	r.Skip(1)
	s.nulls, s.innerIsParent = r.U8() != 0, r.U8() != 0
	r.Skip(1)
	s.parent, s.node = r.U16(), r.U16()
	r.Skip(2)
	s.state = takeSPGistState(&r)
	s.deleted = r.Bytes(2 * nDelete)
	s.places = r.Bytes(2 * nInsert)
	s.toDst = r.Bytes(nInsert)
	s.inner = takeSPGistInner(&r)
	s.leaves = r
	return s, checkRead(&r)
}

// redoSPGistPickSplit is spgRedoPickSplit. Blocks: 0 source, 1 destination of
// leaf tuples, 2 the inner tuple's, 3 its parent's.
func redoSPGistPickSplit(c *ctx, p *page.Page, r walrecord.Cursor) error {
	s, err := takeSPGistPickSplit(r)
	if err != nil {
		return err
	}
	inner := c.block(2)
	if inner == nil {
		return errBadRecord
	}
	switch c.blk.ID {
	case 0, 1:
		switch {
		case c.blk.WillInit:
			initSPGist(p, spgistLeafFlags(s.nulls))
		case c.blk.ID == 0 && !s.root:
			if err := s.state.bury(p, s.deleted, spgistRedirect, inner.Block, s.innerOffnum); err != nil {
				return err
			}
		}
		return s.insertLeaves(p, c.blk.ID == 1)
	case 2:
		if c.blk.WillInit {
			initSPGist(p, spgistInnerFlags(s.nulls))
		}
		if err := addSPGistTuple(p, s.innerOffnum, s.inner); err != nil || !s.innerIsParent {
			return err
		}
	case 3:
	default:
		return errNoRedo
	}
	return setSPGistLink(p, s.parent, s.node, inner.Block, s.innerOffnum)
}

// insertLeaves adds those leaf tuples that belong to the destination, or those
// that stay.
func (s *spgistPickSplitRecord) insertLeaves(p *page.Page, dst bool) error {
	r := s.leaves
	for k, toDst := range s.toDst {
		leaf := takeSPGistLeaf(&r)
		if err := checkRead(&r); err != nil {
			return err
		}
		if (toDst != 0) != dst {
			continue
		}
		if err := addSPGistTuple(p, s.places.At(k), leaf); err != nil {
			return err
		}
	}
	return nil
}
