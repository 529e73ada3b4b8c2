package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of the resource manager Gist (src/include/access/gistxlog.h).
const (
	gistPageUpdate = 0x00
	gistDelete     = 0x10
	gistPageReuse  = 0x20
	gistPageSplit  = 0x30
	gistPageDelete = 0x60
	gistAssignLSN  = 0x70
)

// Bits of the flags in the special area (src/include/access/gist.h).
const (
	gistLeaf          = 0x01
	gistDeleted       = 0x02
	gistTuplesDeleted = 0x04
	gistFollowRight   = 0x08
	gistHasGarbage    = 0x10
)

// Special area (GISTPageOpaqueData): nsn like pd_lsn, rightlink, flags, id.
const (
	lenGistSpecial = 16
	offGistNSN     = 0
	offGistRight   = 8
	offGistFlags   = 12
	offGistID      = 14

	gistPageID = 0xFF81
	gistRoot   = 0 // block number
)

// redoGist is gist_redo (src/backend/access/gist/gistxlog.c).
func redoGist(c *ctx, p *page.Page) error {
	switch c.rec.Op() {
	case gistPageUpdate:
		return redoGistPageUpdate(c, p)
	case gistDelete:
		return redoGistDelete(c, p)
	case gistPageSplit:
		return redoGistPageSplit(c, p)
	case gistPageDelete:
		return redoGistPageDelete(c, p)
	case gistPageReuse, gistAssignLSN:
		return errNoRedo // Without blocks.
	}
	return errUnknownOp
}

// restoredGist ends a split whose left half came as an image.
func restoredGist(c *ctx, p *page.Page) error {
	if gistIsChild(c) {
		return gistFinishSplit(p, c.rec.End)
	}
	return nil
}

// gistIsChild reports whether the block is the left half of a split that the
// record makes known to the parent.
func gistIsChild(c *ctx) bool {
	switch c.rec.Op() {
	case gistPageUpdate:
		return c.blk.ID == 1
	case gistPageSplit:
		return c.blk.ID == 0
	}
	return false
}

// gistFinishSplit is gistRedoClearFollowRight.
func gistFinishSplit(p *page.Page, nsn wal.LSN) error {
	s := p.SpecialArea(lenGistSpecial)
	if s == nil {
		return errBadPage
	}
	putGistNSN(s, nsn)
	setGistFlags(s, gistFlags(s)&^gistFollowRight)
	return nil
}

func gistFlags(special []byte) uint16 { return binary.LittleEndian.Uint16(special[offGistFlags:]) }

func setGistFlags(special []byte, flags uint16) {
	binary.LittleEndian.PutUint16(special[offGistFlags:], flags)
}

func putGistNSN(special []byte, nsn wal.LSN) {
	binary.LittleEndian.PutUint32(special[offGistNSN:], uint32(uint64(nsn)>>32))
	binary.LittleEndian.PutUint32(special[offGistNSN+4:], uint32(nsn))
}

// redoGistPageUpdate is gistRedoPageUpdateRecord.
func redoGistPageUpdate(c *ctx, p *page.Page) error {
	r := walrecord.NewCursor(c.main)
	nDelete, nInsert := int(r.U16()), int(r.U16())
	if err := checkRead(&r); err != nil {
		return err
	}
	if gistIsChild(c) {
		return gistFinishSplit(p, c.rec.End)
	}
	if c.blk.ID != 0 {
		return errNoRedo
	}
	r = walrecord.NewCursor(c.blk.Data)
	deleted := page.OffsetList(r.Bytes(2 * nDelete))
	if nDelete == 1 && nInsert == 1 { // In place, so that the item keeps its number.
		tuple := takeIndexTuple(&r)
		if err := checkRead(&r); err != nil {
			return err
		}
		if err := p.Overwrite(deleted.At(0), tuple); err != nil {
			return err
		}
		return appendIndexTuples(p, r.Rest)
	}
	if err := checkRead(&r); err != nil {
		return err
	}
	if nDelete > 0 {
		if err := gistMultiDelete(p, deleted, false); err != nil {
			return err
		}
	}
	return appendIndexTuples(p, r.Rest)
}

// gistMultiDelete deletes items and notes it on leaves; clean says that none
// that are known to be dead remain.
func gistMultiDelete(p *page.Page, offnums page.OffsetList, clean bool) error {
	if err := p.MultiDelete(offnums); err != nil {
		return err
	}
	s := p.SpecialArea(lenGistSpecial)
	if s == nil {
		return errBadPage
	}
	flags := gistFlags(s)
	if clean {
		flags &^= gistHasGarbage
	}
	if clean || flags&gistLeaf != 0 {
		flags |= gistTuplesDeleted
	}
	setGistFlags(s, flags)
	return nil
}

// redoGistDelete is gistRedoDeleteRecord. The offset numbers follow at once
// until 15, since 16 after isCatalogRel and padding.
func redoGistDelete(c *ctx, p *page.Page) error {
	if c.blk.ID != 0 {
		return errNoRedo
	}
	r := walrecord.NewCursor(c.main)
	r.Skip(4) // The conflict horizon: for standbys.
	n := int(r.U16())
	if len(r.Rest) >= 2+2*n {
		r.Skip(2)
	}
	offnums := page.OffsetList(r.Bytes(2 * n))
	if err := checkRead(&r); err != nil {
		return err
	}
	return gistMultiDelete(p, offnums, true)
}

// redoGistPageDelete is gistRedoPageDelete.
func redoGistPageDelete(c *ctx, p *page.Page) error {
	r := walrecord.NewCursor(c.main)
	xid, downlink := r.Bytes(8), r.U16()
	if err := checkRead(&r); err != nil {
		return err
	}
	switch c.blk.ID {
	case 0:
		s, contents := p.SpecialArea(lenGistSpecial), p.Contents()
		if s == nil || len(contents) < len(xid) {
			return errBadPage
		}
		setGistFlags(s, gistFlags(s)|gistDeleted)
		p.SetLower(page.HeaderSize + copy(contents, xid)) // Nothing may reuse the page before.
		return nil
	case 1:
		return p.Delete(downlink)
	}
	return errNoRedo
}
