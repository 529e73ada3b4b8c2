package page

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/wal"
)

// Sizes in bytes of a page and its parts.
const (
	Size        = wal.BlockSize
	HeaderSize  = 24
	PointerSize = 4
)

// Offsets of the header's fields (PageHeaderData).
const (
	offLSN      = 0 // two u32, high half first
	offChecksum = 8
	offFlags    = 10
	offLower    = 12
	offUpper    = 14
	offSpecial  = 16
	offVersion  = 18
	offPruneXID = 20
)

// sizeVersion is pd_pagesize_version: the page size and layout version 4.
const sizeVersion = Size | 4

// Bits of pd_flags.
const (
	FlagHasFreeLines = 0x0001
	FlagFull         = 0x0002
	FlagAllVisible   = 0x0004
)

// Page is one page. Its fields are little-endian, as PostgreSQL writes them on
// the machines that it supports here.
type Page [Size]byte

// Align rounds up to the alignment of tuples (MAXALIGN), 8 bytes.
func Align(n int) int { return (n + 7) &^ 7 }

func (p *Page) u16(at int) uint16 { return binary.LittleEndian.Uint16(p[at:]) }

func (p *Page) setU16(at int, v uint16) { binary.LittleEndian.PutUint16(p[at:], v) }

// LSN is pd_lsn: the end of the last record that changed the page.
func (p *Page) LSN() wal.LSN {
	return wal.LSN(uint64(binary.LittleEndian.Uint32(p[offLSN:]))<<32 |
		uint64(binary.LittleEndian.Uint32(p[offLSN+4:])))
}

// SetLSN sets pd_lsn.
func (p *Page) SetLSN(lsn wal.LSN) {
	binary.LittleEndian.PutUint32(p[offLSN:], uint32(uint64(lsn)>>32))
	binary.LittleEndian.PutUint32(p[offLSN+4:], uint32(lsn))
}

// Flags is pd_flags.
func (p *Page) Flags() uint16 { return p.u16(offFlags) }

// SetFlag sets bits of pd_flags.
func (p *Page) SetFlag(bits uint16) { p.setU16(offFlags, p.Flags()|bits) }

// ClearFlag clears bits of pd_flags.
func (p *Page) ClearFlag(bits uint16) { p.setU16(offFlags, p.Flags()&^bits) }

// Lower is pd_lower: the end of the line pointers.
func (p *Page) Lower() int { return int(p.u16(offLower)) }

// SetLower sets pd_lower to 0..Size.
func (p *Page) SetLower(n int) { p.setU16(offLower, uint16(n)) }

// Upper is pd_upper: the start of the tuples.
func (p *Page) Upper() int { return int(p.u16(offUpper)) }

// SetUpper sets pd_upper to 0..Size.
func (p *Page) SetUpper(n int) { p.setU16(offUpper, uint16(n)) }

// Special is pd_special: the start of the special area.
func (p *Page) Special() int { return int(p.u16(offSpecial)) }

// PruneXID is pd_prune_xid.
func (p *Page) PruneXID() uint32 { return binary.LittleEndian.Uint32(p[offPruneXID:]) }

// SetPruneXID sets pd_prune_xid.
func (p *Page) SetPruneXID(xid uint32) { binary.LittleEndian.PutUint32(p[offPruneXID:], xid) }

// IsNew reports whether the page was never initialised (PageIsNew).
func (p *Page) IsNew() bool { return p.Upper() == 0 }

// IsEmpty reports whether the page has no line pointers (PageIsEmpty).
func (p *Page) IsEmpty() bool { return p.Lower() <= HeaderSize }

// Init makes the page an empty one (PageInit) with room for a special area of
// special bytes, which are zero, as is all else but the header. special above
// the size of a page counts as none.
func (p *Page) Init(special int) {
	*p = Page{}
	if special < 0 || special > Size-HeaderSize {
		special = 0
	}
	at := Size - Align(special)
	p.SetLower(HeaderSize)
	p.SetUpper(at)
	p.setU16(offSpecial, uint16(at))
	p.setU16(offVersion, sizeVersion)
}

// Check returns an error if the header's positions contradict each other
// (PageAddItemExtended's check and those like it). All other functions rely on
// what it proves: HeaderSize <= Lower <= Upper <= Special <= Size.
func (p *Page) Check() error {
	lower, upper, special := p.Lower(), p.Upper(), p.Special()
	if lower < HeaderSize || lower > upper || upper > special || special > Size || special%8 != 0 {
		return &CorruptError{Lower: lower, Upper: upper, Special: special}
	}
	return nil
}

// SpecialArea is the special area, aliasing the page; nil when it is shorter
// than n bytes or the header is corrupt.
func (p *Page) SpecialArea(n int) []byte {
	if s := p.Special(); s >= HeaderSize && s <= Size-n {
		return p[s:Size:Size]
	}
	return nil
}

// Contents is what follows the header up to the special area (PageGetContents),
// aliasing the page; nil when the header is corrupt.
func (p *Page) Contents() []byte {
	if s := p.Special(); s >= HeaderSize && s <= Size {
		return p[HeaderSize:s:s]
	}
	return nil
}
