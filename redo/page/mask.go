package page

import "encoding/binary"

// Mask overwrites what may differ between a server's page and the page that
// redo made, so that the rest can be compared byte by byte. strict asks for a
// smaller mask than PostgreSQL's own: what is left out there is true of images
// that were taken together with the record.
//
// A page with a corrupt header is left as it is but for pd_lsn and pd_checksum.
// block is the page's number in its fork.
type Mask func(p *Page, block uint32, strict bool)

// hole clears what lies between the line pointers and the tuples.
func (p *Page) maskHole() {
	clear(p[p.Lower():p.Upper()])
}

// maskHeader clears what every mask clears: pd_lsn, pd_checksum.
func (p *Page) maskHeader() {
	p.SetLSN(0)
	p.SetChecksum(0)
}

// maskHints clears the hints of the header (mask_page_hint_bits).
func (p *Page) maskHints(strict bool) {
	p.SetPruneXID(0)
	flags := uint16(FlagHasFreeLines | FlagFull)
	if !strict {
		flags |= FlagAllVisible
	}
	p.ClearFlag(flags)
}

// maskPointers drops the states of an index leaf's line pointers (mask_lp_flags);
// strictly, only whether a tuple counts as dead.
func (p *Page) maskPointers(strict bool) {
	for k := 1; k <= p.MaxOffset(); k++ {
		i := p.pointer(k)
		switch {
		case strict && i.Flags() == Dead && i.HasStorage():
			p.setPointer(k, i.WithFlags(Normal))
		case !strict && i.Flags() != Unused:
			p.setPointer(k, i.WithFlags(Unused))
		}
	}
}

// MaskPlain masks pages of which nothing but the hole may differ: those of
// sequences and of Generic records.
func MaskPlain(p *Page, _ uint32, _ bool) {
	p.maskHeader()
	if p.Check() == nil {
		p.maskHole()
	}
}

// MaskImage masks pages that records only ever carry whole.
func MaskImage(p *Page, _ uint32, _ bool) { p.maskHeader() }

// Bits of t_infomask that the heap's mask needs.
const (
	infoXminFrozen    = 0x0300
	infoXmaxCommitted = 0x0400
	infoXmaxInvalid   = 0x0800
	infoComboCID      = 0x0020
	infoVisibility    = 0xFFF0 // HEAP_XACT_MASK
)

// specOffset is t_ctid's offset number while an insertion is speculative
// (SpecTokenOffsetNumber).
const specOffset = 0xFFFE

// MaskHeap masks heap pages (heap_mask).
func MaskHeap(p *Page, block uint32, strict bool) {
	p.maskHeader()
	if p.Check() != nil {
		return
	}
	p.maskHints(strict)
	p.maskHole()
	for k := 1; k <= p.MaxOffset(); k++ {
		i := p.pointer(k)
		end := i.Offset() + i.Length()
		if i.Flags() != Normal || i.Length() < 23 || i.Offset() < HeaderSize || end > Size {
			continue
		}
		maskTuple(p[i.Offset():end], block, k, strict)
		clear(p[end:min(Align(end), Size)])
	}
}

func maskTuple(t []byte, block uint32, offnum int, strict bool) {
	info := binary.LittleEndian.Uint16(t[20:])
	switch {
	case strict:
		// Hint bits and the combo bit: 0x0F20 without what freezing says.
		keep := info & infoXminFrozen
		info &^= infoComboCID | infoXminFrozen | infoXmaxCommitted | infoXmaxInvalid
		if keep == infoXminFrozen {
			info |= keep
		}
	case info&infoXminFrozen == infoXminFrozen:
		info &^= infoXmaxCommitted | infoXmaxInvalid
	default:
		info &^= infoVisibility
	}
	binary.LittleEndian.PutUint16(t[20:], info)
	clear(t[8:12]) // t_cid
	if binary.LittleEndian.Uint16(t[16:]) == specOffset {
		// The server's own tuple has its token there; redo shows the tuple itself.
		binary.LittleEndian.PutUint16(t[12:], uint16(block>>16))
		binary.LittleEndian.PutUint16(t[14:], uint16(block))
		binary.LittleEndian.PutUint16(t[16:], uint16(offnum))
	}
}

// MaskVisibilityMap masks pages of the visibility map. PostgreSQL masks all of
// the map: its hole begins at pd_lower, 24. Strictly, it is compared.
func MaskVisibilityMap(p *Page, _ uint32, strict bool) {
	p.maskHeader()
	if p.Check() != nil {
		return
	}
	p.maskHints(strict)
	if !strict {
		p.maskHole()
	}
}
