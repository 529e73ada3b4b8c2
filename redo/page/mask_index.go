package page

import "encoding/binary"

// Special areas of index pages: flag bits that the masks need.
const (
	btreeLeaf      = 0x01
	btreeDeleted   = 0x04
	btreeMeta      = 0x08
	btreeSplitEnd  = 0x20
	btreeGarbage   = 0x40
	hashPageTypes  = 0x0F // LH_PAGE_TYPE without the high bits
	hashOverflow   = 0x01
	hashBucket     = 0x02
	hashDeadTuples = 0x80
	ginDeleted     = 0x04
	gistLeaf       = 0x01
	gistTuplesGone = 0x04
	gistFollow     = 0x08
	gistGarbage    = 0x10
	brinEvacuate   = 0x01
	brinMeta       = 0xF091
	brinRegular    = 0xF093
)

func clearBits(b []byte, bits uint16) {
	binary.LittleEndian.PutUint16(b, binary.LittleEndian.Uint16(b)&^bits)
}

// maskIndex is what the masks of all indexes begin with. It reports whether the
// header makes sense.
func (p *Page) maskIndex(strict bool) bool {
	p.maskHeader()
	if p.Check() != nil {
		return false
	}
	p.maskHints(strict)
	return true
}

// MaskBtree masks B-tree pages (btree_mask).
func MaskBtree(p *Page, _ uint32, strict bool) {
	if !p.maskIndex(strict) {
		return
	}
	p.maskHole()
	special := p.SpecialArea(16)
	if special == nil {
		return
	}
	if flags := binary.LittleEndian.Uint16(special[12:]); flags&btreeLeaf != 0 {
		p.maskPointers(strict)
	}
	clearBits(special[12:], btreeGarbage|btreeSplitEnd)
	clear(special[14:16]) // cycle id
}

// MaskHash masks pages of hash indexes (hash_mask).
func MaskHash(p *Page, _ uint32, strict bool) {
	if !p.maskIndex(strict) {
		return
	}
	p.maskHole()
	special := p.SpecialArea(16)
	if special == nil {
		return
	}
	switch flags := binary.LittleEndian.Uint16(special[12:]); {
	case flags&hashPageTypes == 0: // An unused page: only that it is one.
		clear(p[HeaderSize:])
	case flags&(hashOverflow|hashBucket) != 0:
		p.maskPointers(strict)
	}
	if special := p.SpecialArea(16); special != nil {
		clearBits(special[12:], hashDeadTuples)
	}
}

// MaskGin masks pages of GIN indexes (gin_mask).
func MaskGin(p *Page, _ uint32, strict bool) {
	if !p.maskIndex(strict) {
		return
	}
	special := p.SpecialArea(8)
	if special == nil {
		return
	}
	if binary.LittleEndian.Uint16(special[6:])&ginDeleted != 0 {
		clear(p[HeaderSize:]) // mask_page_content
		p.SetLower(0)
		p.SetUpper(0)
	} else if p.Lower() > HeaderSize {
		p.maskHole()
	}
}

// MaskGist masks pages of GiST indexes (gist_mask).
func MaskGist(p *Page, _ uint32, strict bool) {
	if !p.maskIndex(strict) {
		return
	}
	p.maskHole()
	special := p.SpecialArea(16)
	if special == nil {
		return
	}
	clear(special[:8]) // NSN: the server's is set after the image was taken.
	if binary.LittleEndian.Uint16(special[12:])&gistLeaf != 0 {
		p.maskPointers(strict)
	}
	// Redo of DELETE says that tuples were deleted, the server itself does not.
	clearBits(special[12:], gistFollow|gistGarbage|gistTuplesGone)
}

// MaskSPGist masks pages of SP-GiST indexes (spg_mask).
func MaskSPGist(p *Page, _ uint32, strict bool) {
	if !p.maskIndex(strict) {
		return
	}
	p.maskHole()
}

// MaskBRIN masks pages of BRIN indexes (brin_mask): the map of ranges is
// compared wholly.
func MaskBRIN(p *Page, _ uint32, strict bool) {
	if !p.maskIndex(strict) {
		return
	}
	special := p.SpecialArea(8)
	if special == nil {
		return
	}
	kind := binary.LittleEndian.Uint16(special[6:])
	if kind == brinRegular || kind == brinMeta && p.Lower() > HeaderSize {
		p.maskHole()
	}
	clearBits(special[4:], brinEvacuate)
}
