package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// invalidBlock is InvalidBlockNumber.
const invalidBlock = 0xFFFFFFFF

// redoGistPageSplit is gistRedoPageSplitRecord: a page becomes pages 1 to
// npage, each of which is built anew. Block 0 is the child, if any, whose split
// the record makes known to them.
func redoGistPageSplit(c *ctx, p *page.Page) error {
	r := walrecord.NewCursor(c.main)
	right := r.U32()
	r.Skip(4)
	nsn := wal.LSN(r.U64())
	leaf := r.U8() != 0
	r.Skip(1)
	n := int(r.U16())
	follow := r.U8() != 0
	if err := checkRead(&r); err != nil {
		return err
	}
	if gistIsChild(c) {
		return gistFinishSplit(p, c.rec.End)
	}
	first := c.block(1)
	if int(c.blk.ID) > n || first == nil {
		return errBadRecord
	}
	last := int(c.blk.ID) == n
	var flags uint16
	if leaf && c.blk.Block != gistRoot {
		flags = gistLeaf
	}
	if c.blk.Block == gistRoot {
		right = invalidBlock
	} else if !last {
		next := c.block(c.blk.ID + 1)
		if next == nil {
			return errBadRecord
		}
		right = next.Block
		if follow && first.Block != gistRoot {
			flags |= gistFollowRight
		}
	}
	return fillGist(p, right, flags, nsn, c.blk.Data)
}

// fillGist builds a page of the tuples in data, behind their number.
func fillGist(p *page.Page, right uint32, flags uint16, nsn wal.LSN, data []byte) error {
	r := walrecord.NewCursor(data)
	n := int(r.U32())
	if err := checkRead(&r); err != nil {
		return err
	}
	p.Init(lenGistSpecial)
	s := p.SpecialArea(lenGistSpecial)
	putGistNSN(s, nsn)
	binary.LittleEndian.PutUint32(s[offGistRight:], right)
	setGistFlags(s, flags)
	binary.LittleEndian.PutUint16(s[offGistID:], gistPageID)
	if err := appendIndexTuples(p, r.Rest); err != nil {
		return err
	}
	if p.MaxOffset() != n {
		return errBadRecord
	}
	return nil
}
