package redo

import (
	"encoding/binary"
	"slices"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Special area (SpGistPageOpaqueData): flags, numbers of redirects and of
// placeholders, page id.
const (
	lenSPGistSpecial = 8
	spgistPageID     = 0xFF82

	spgistFlagLeaf  = 0x04
	spgistFlagNulls = 0x08
)

// initSPGist is SpGistInitPage.
func initSPGist(p *page.Page, flags uint16) {
	p.Init(lenSPGistSpecial)
	b := p[page.Size-lenSPGistSpecial:]
	binary.LittleEndian.PutUint16(b, flags)
	binary.LittleEndian.PutUint16(b[6:], spgistPageID)
}

func spgistLeafFlags(nulls bool) uint16 {
	if nulls {
		return spgistFlagLeaf | spgistFlagNulls
	}
	return spgistFlagLeaf
}

func spgistInnerFlags(nulls bool) uint16 {
	if nulls {
		return spgistFlagNulls
	}
	return 0
}

// countSPGist adds to the numbers of redirects and placeholders on the page.
func countSPGist(p *page.Page, redirects, placeholders int) error {
	b := p.SpecialArea(lenSPGistSpecial)
	if b == nil {
		return errBadPage
	}
	binary.LittleEndian.PutUint16(b[2:], binary.LittleEndian.Uint16(b[2:])+uint16(redirects))
	binary.LittleEndian.PutUint16(b[4:], binary.LittleEndian.Uint16(b[4:])+uint16(placeholders))
	return nil
}

// countSPGistDead counts n more dead tuples of a state.
func countSPGistDead(p *page.Page, state uint8, n int) error {
	switch state {
	case spgistRedirect:
		return countSPGist(p, n, 0)
	case spgistPlaceholder:
		return countSPGist(p, 0, n)
	}
	return nil
}

// addSPGistTuple is addOrReplaceTuple: a placeholder makes room.
func addSPGistTuple(p *page.Page, offnum uint16, tuple []byte) error {
	if int(offnum) <= p.MaxOffset() {
		item, err := spgistItem(p, offnum, lenSPGistDead)
		if err != nil {
			return err
		}
		if spgistState(item) != spgistPlaceholder {
			return errBadPage
		}
		if err := p.Delete(offnum); err != nil {
			return err
		}
		if err := countSPGist(p, 0, -1); err != nil {
			return err
		}
	}
	return p.Insert(offnum, tuple)
}

// replaceSPGistTuple puts a tuple in another's place.
func replaceSPGistTuple(p *page.Page, offnum uint16, tuple []byte) error {
	if err := p.Delete(offnum); err != nil {
		return err
	}
	return p.Insert(offnum, tuple)
}

// spgistDeadMaker is spgxlogState, from which tuples without contents are made.
type spgistDeadMaker struct {
	xid   uint32
	build bool // during CREATE INDEX nobody else follows links: no redirects
}

func takeSPGistState(r *walrecord.Cursor) spgistDeadMaker {
	s := spgistDeadMaker{xid: r.U32(), build: r.U8() != 0}
	r.Skip(3)
	return s
}

// dead is spgFormDeadTuple.
func (s spgistDeadMaker) dead(state uint8, block uint32, offnum uint16) [lenSPGistDead]byte {
	var t [lenSPGistDead]byte
	binary.LittleEndian.PutUint32(t[:], uint32(state)|lenSPGistDead<<2)
	if state != spgistRedirect {
		putTupleID(t[offSPGistPointer:], invalidBlock, 0)
		return t
	}
	putTupleID(t[offSPGistPointer:], block, offnum)
	binary.LittleEndian.PutUint32(t[offSPGistXID:], s.xid)
	return t
}

// bury replaces leaf tuples that went elsewhere: the first in the list by what
// first says, a redirect to there or a placeholder, the others by placeholders.
func (s spgistDeadMaker) bury(p *page.Page, offnums page.OffsetList, first uint8, block uint32, offnum uint16) error {
	if s.build {
		first = spgistPlaceholder
	}
	return s.replace(p, offnums, first, spgistPlaceholder, block, offnum)
}

// buryInner replaces an inner tuple that went elsewhere.
func (s spgistDeadMaker) buryInner(p *page.Page, offnum uint16, block uint32, newOffnum uint16) error {
	state := uint8(spgistRedirect)
	if s.build {
		state = spgistPlaceholder
	}
	t := s.dead(state, block, newOffnum)
	if err := replaceSPGistTuple(p, offnum, t[:]); err != nil {
		return err
	}
	return countSPGistDead(p, state, 1)
}

// spgistMaxItems is above the number of tuples that a page can have.
const spgistMaxItems = page.Size / (lenSPGistDead + page.PointerSize)

// replace is spgPageIndexMultiDelete: dead tuples take the places of those in
// the list, which is in any order.
func (s spgistDeadMaker) replace(p *page.Page, offnums page.OffsetList, first, others uint8, block uint32, offnum uint16) error {
	n := offnums.Len()
	if n == 0 {
		return nil
	}
	if n > spgistMaxItems {
		return errBadRecord
	}
	var numbers [spgistMaxItems]uint16
	for k := range n {
		numbers[k] = offnums.At(k)
	}
	slices.Sort(numbers[:n])
	var sorted [2 * spgistMaxItems]byte
	for k, v := range numbers[:n] {
		binary.LittleEndian.PutUint16(sorted[2*k:], v)
	}
	if err := p.MultiDelete(sorted[:2*n]); err != nil {
		return err
	}
	one, other := s.dead(first, block, offnum), s.dead(others, block, offnum)
	for _, v := range numbers[:n] {
		t := &other
		if v == offnums.At(0) {
			t = &one
		}
		if err := p.Insert(v, t[:]); err != nil {
			return err
		}
	}
	if err := countSPGistDead(p, first, 1); err != nil {
		return err
	}
	return countSPGistDead(p, others, n-1)
}
