package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// States of tuples, in the low bits of their first byte
// (src/include/access/spgist_private.h).
const (
	spgistStateMask   = 0x03
	spgistRedirect    = 1
	spgistDead        = 2
	spgistPlaceholder = 3
)

// Layouts: a leaf tuple is u32 state and size, u16 with the offset number of the
// next in its list, TID, value; a dead tuple is the same up to there with a link
// in the place of the TID, then an xid; an inner tuple is u16 state and number
// of nodes, u16 size of the prefix, u16 size, prefix, nodes.
const (
	lenSPGistLeaf    = 12
	lenSPGistDead    = 16
	offSPGistNext    = 4
	offSPGistPointer = 6
	offSPGistXID     = 12
	spgistNextMask   = 0x3FFF

	lenSPGistInner  = 8
	offSPGistPrefix = 2
	offSPGistSize   = 4
	spgistNodeShift = 3
)

func spgistState(tuple []byte) uint8 { return tuple[0] & spgistStateMask }

// takeSPGistLeaf takes the next leaf tuple of a record.
func takeSPGistLeaf(r *walrecord.Cursor) []byte {
	if len(r.Rest) < lenSPGistLeaf {
		return r.Bytes(lenSPGistLeaf) // Too short.
	}
	return takeSPGistTuple(r, int(binary.LittleEndian.Uint32(r.Rest)>>2), lenSPGistLeaf)
}

// takeSPGistInner takes the next inner tuple of a record.
func takeSPGistInner(r *walrecord.Cursor) []byte {
	if len(r.Rest) < lenSPGistInner {
		return r.Bytes(lenSPGistInner) // Too short.
	}
	return takeSPGistTuple(r, int(binary.LittleEndian.Uint16(r.Rest[offSPGistSize:])), lenSPGistInner)
}

func takeSPGistTuple(r *walrecord.Cursor, size, least int) []byte {
	if size < least || size > page.Size {
		r.Bad = true
		r.Rest = nil
		return nil
	}
	return r.Bytes(size)
}

// spgistItem is a tuple of the page of at least so many bytes.
func spgistItem(p *page.Page, offnum uint16, least int) ([]byte, error) {
	item, err := p.Item(offnum)
	if err != nil {
		return nil, err
	}
	if len(item) < least {
		return nil, errBadPage
	}
	return item, nil
}

// setSPGistNext links a leaf tuple to the next in its list
// (SGLT_SET_NEXTOFFSET).
func setSPGistNext(p *page.Page, offnum, next uint16) error {
	item, err := spgistItem(p, offnum, lenSPGistLeaf)
	if err != nil {
		return err
	}
	info := binary.LittleEndian.Uint16(item[offSPGistNext:])
	binary.LittleEndian.PutUint16(item[offSPGistNext:], info&^spgistNextMask|next&spgistNextMask)
	return nil
}

// setSPGistLink lets a node of an inner tuple lead to another tuple
// (spgUpdateNodeLink).
func setSPGistLink(p *page.Page, parent, node uint16, block uint32, offnum uint16) error {
	item, err := spgistItem(p, parent, lenSPGistInner)
	if err != nil {
		return err
	}
	if spgistState(item) != 0 || node >= binary.LittleEndian.Uint16(item)>>spgistNodeShift {
		return errBadPage
	}
	r := walrecord.NewCursor(item)
	r.Skip(lenSPGistInner + int(binary.LittleEndian.Uint16(item[offSPGistPrefix:])))
	for ; node > 0; node-- {
		takeIndexTuple(&r)
	}
	link := takeIndexTuple(&r)
	if r.Bad {
		return errBadPage
	}
	putTupleID(link, block, offnum)
	return nil
}
