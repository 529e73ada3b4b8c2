package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of the resource manager SPGist (src/include/access/spgxlog.h).
const (
	spgistAddLeaf        = 0x10
	spgistMoveLeafs      = 0x20
	spgistAddNode        = 0x30
	spgistSplitTuple     = 0x40
	spgistPickSplit      = 0x50
	spgistVacuumLeaf     = 0x60
	spgistVacuumRoot     = 0x70
	spgistVacuumRedirect = 0x80
)

// redoSPGist is spg_redo (src/backend/access/spgist/spgxlog.c). The tuples are
// in the main data.
func redoSPGist(c *ctx, p *page.Page) error {
	r := walrecord.NewCursor(c.main)
	switch c.rec.Op() {
	case spgistAddLeaf:
		return redoSPGistAddLeaf(c, p, r)
	case spgistMoveLeafs:
		return redoSPGistMoveLeafs(c, p, r)
	case spgistAddNode:
		return redoSPGistAddNode(c, p, r)
	case spgistSplitTuple:
		return redoSPGistSplitTuple(c, p, r)
	case spgistPickSplit:
		return redoSPGistPickSplit(c, p, r)
	case spgistVacuumLeaf:
		return redoSPGistVacuumLeaf(c, p, r)
	case spgistVacuumRoot:
		return redoSPGistVacuumRoot(c, p, r)
	case spgistVacuumRedirect:
		return redoSPGistVacuumRedirect(c, p, r)
	}
	return errUnknownOp
}

// redoSPGistAddLeaf is spgRedoAddLeaf.
func redoSPGistAddLeaf(c *ctx, p *page.Page, r walrecord.Cursor) error {
	r.Skip(1) // Whether the page is new: the block reference says it too.
	nulls := r.U8() != 0
	offnum, head, parent, node := r.U16(), r.U16(), r.U16(), r.U16()
	leaf := takeSPGistLeaf(&r)
	if err := checkRead(&r); err != nil {
		return err
	}
	page0 := c.block(0)
	if page0 == nil {
		return errBadRecord
	}
	switch c.blk.ID {
	case 0:
		if c.blk.WillInit {
			initSPGist(p, spgistLeafFlags(nulls))
		}
		if offnum == head { // It replaces a dead tuple.
			return replaceSPGistTuple(p, offnum, leaf)
		}
		if err := addSPGistTuple(p, offnum, leaf); err != nil || head == 0 {
			return err
		}
		return setSPGistNext(p, head, offnum)
	case 1:
		return setSPGistLink(p, parent, node, page0.Block, offnum)
	}
	return errNoRedo
}

// redoSPGistMoveLeafs is spgRedoMoveLeafs: the list of leaf tuples of a node
// goes to another page.
func redoSPGistMoveLeafs(c *ctx, p *page.Page, r walrecord.Cursor) error {
	n := int(r.U16())
	r.Skip(1)
	replaceDead, nulls := r.U8() != 0, r.U8() != 0
	r.Skip(1)
	parent, node := r.U16(), r.U16()
	r.Skip(2)
	state := takeSPGistState(&r)
	moved := page.OffsetList(r.Bytes(2 * n))
	if n++; replaceDead {
		n = 1
	}
	places := page.OffsetList(r.Bytes(2 * n))
	if err := checkRead(&r); err != nil {
		return err
	}
	dst := c.block(1)
	if dst == nil {
		return errBadRecord
	}
	last := places.At(n - 1)
	switch c.blk.ID {
	case 0:
		return state.bury(p, moved, spgistRedirect, dst.Block, last)
	case 1:
		if c.blk.WillInit {
			initSPGist(p, spgistLeafFlags(nulls))
		}
		for k := range n {
			leaf := takeSPGistLeaf(&r)
			if err := checkRead(&r); err != nil {
				return err
			}
			if err := addSPGistTuple(p, places.At(k), leaf); err != nil {
				return err
			}
		}
		return nil
	case 2:
		return setSPGistLink(p, parent, node, dst.Block, last)
	}
	return errNoRedo
}

// redoSPGistAddNode is spgRedoAddNode: an inner tuple gets a further node, and
// goes to block 1 if it no longer fits where it is.
func redoSPGistAddNode(c *ctx, p *page.Page, r walrecord.Cursor) error {
	offnum, newOffnum := r.U16(), r.U16()
	r.Skip(1)
	parentBlock := int8(r.U8())
	parent, node := r.U16(), r.U16()
	r.Skip(2)
	state := takeSPGistState(&r)
	inner := takeSPGistInner(&r)
	if err := checkRead(&r); err != nil {
		return err
	}
	dst := c.block(1)
	switch {
	case c.blk.ID > 2:
		return errNoRedo
	case dst == nil && c.blk.ID == 0:
		return replaceSPGistTuple(p, offnum, inner)
	case dst == nil:
		return errBadRecord
	case c.blk.ID == 0:
		if err := state.buryInner(p, offnum, dst.Block, newOffnum); err != nil {
			return err
		}
	case c.blk.ID == 1:
		if c.blk.WillInit {
			initSPGist(p, 0)
		}
		if err := addSPGistTuple(p, newOffnum, inner); err != nil {
			return err
		}
	}
	if int(parentBlock) != int(c.blk.ID) {
		return nil
	}
	return setSPGistLink(p, parent, node, dst.Block, newOffnum)
}

// redoSPGistSplitTuple is spgRedoSplitTuple: an inner tuple becomes one of a
// shorter prefix and, below it, one of the rest.
func redoSPGistSplitTuple(c *ctx, p *page.Page, r walrecord.Cursor) error {
	prefixOffnum, postfixOffnum := r.U16(), r.U16()
	r.Skip(1)
	same := r.U8() != 0
	prefix := takeSPGistInner(&r)
	postfix := takeSPGistInner(&r)
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0:
		if err := replaceSPGistTuple(p, prefixOffnum, prefix); err != nil || !same {
			return err
		}
	case 1:
		if c.blk.WillInit {
			initSPGist(p, 0)
		}
	default:
		return errNoRedo
	}
	return addSPGistTuple(p, postfixOffnum, postfix)
}
