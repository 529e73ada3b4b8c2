package page

import "encoding/binary"

// Pointer is a line pointer (ItemIdData): bits 0-14 offset, 15-16 flags, 17-31
// length.
type Pointer uint32

// PointerFlags is the state of a line pointer.
type PointerFlags uint8

// States of a line pointer.
const (
	Unused PointerFlags = iota
	Normal
	Redirect // Offset is the number of another line pointer
	Dead
)

// MakePointer builds a line pointer of an offset and length below 2^15.
func MakePointer(offset int, flags PointerFlags, length int) Pointer {
	return Pointer(uint32(offset)&0x7FFF | uint32(flags&3)<<15 | uint32(length)<<17)
}

// Offset is the tuple's place on the page, for a Redirect another pointer's
// number.
func (i Pointer) Offset() int { return int(i & 0x7FFF) }

// Flags is the pointer's state.
func (i Pointer) Flags() PointerFlags { return PointerFlags(i>>15) & 3 }

// Length is the tuple's length in bytes, without padding.
func (i Pointer) Length() int { return int(i >> 17) }

// HasStorage reports whether bytes of the page belong to the pointer.
func (i Pointer) HasStorage() bool { return i.Length() != 0 }

func (i Pointer) withOffset(offset int) Pointer {
	return i&^0x7FFF | Pointer(uint32(offset)&0x7FFF)
}

// WithFlags is the pointer with another state.
func (i Pointer) WithFlags(f PointerFlags) Pointer {
	return i&^(3<<15) | Pointer(f&3)<<15
}

// MaxOffset is the number of line pointers, the highest offset number
// (PageGetMaxOffsetNumber). It is at most what fits into a page.
func (p *Page) MaxOffset() int {
	lower := p.Lower()
	if lower <= HeaderSize || lower > Size {
		return 0
	}
	return (lower - HeaderSize) / PointerSize
}

func pointerAt(offnum int) int { return HeaderSize + (offnum-1)*PointerSize }

// Pointer is line pointer offnum, counted from 1; 0 (unused) when there is none.
func (p *Page) Pointer(offnum uint16) Pointer {
	if offnum == 0 || int(offnum) > p.MaxOffset() {
		return 0
	}
	return p.pointer(int(offnum))
}

// SetPointer replaces line pointer offnum, which must exist.
func (p *Page) SetPointer(offnum uint16, i Pointer) error {
	if offnum == 0 || int(offnum) > p.MaxOffset() {
		return ErrOffset
	}
	p.setPointer(int(offnum), i)
	return nil
}

// pointer reads a line pointer in 1..MaxOffset.
func (p *Page) pointer(offnum int) Pointer {
	return Pointer(binary.LittleEndian.Uint32(p[pointerAt(offnum):]))
}

func (p *Page) setPointer(offnum int, i Pointer) {
	binary.LittleEndian.PutUint32(p[pointerAt(offnum):], uint32(i))
}

// Item is the tuple of line pointer offnum, aliasing the page, whatever the
// pointer's flags: index pages mark tuples dead and keep them.
func (p *Page) Item(offnum uint16) ([]byte, error) {
	if offnum == 0 || int(offnum) > p.MaxOffset() {
		return nil, ErrOffset
	}
	i := p.pointer(int(offnum))
	if !i.HasStorage() || i.Flags() == Redirect || i.Offset() < HeaderSize || i.Offset()+i.Length() > Size {
		return nil, ErrPointer
	}
	return p[i.Offset() : i.Offset()+i.Length() : i.Offset()+i.Length()], nil
}
