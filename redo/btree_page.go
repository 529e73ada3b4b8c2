package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Bits of btpo_flags.
const (
	btreeLeaf            = 0x0001
	btreeRoot            = 0x0002
	btreeDeleted         = 0x0004
	btreeMeta            = 0x0008
	btreeHalfDead        = 0x0010
	btreeHasGarbage      = 0x0040
	btreeIncompleteSplit = 0x0080
	btreeHasFullXID      = 0x0100
)

// lenBtreeSpecial is the size of the special area.
const lenBtreeSpecial = 16

// btreeFirstKey is the high key's place on pages that have one.
const btreeFirstKey = 1

// btreeSpecial is the special area of a btree page (BTPageOpaqueData).
type btreeSpecial struct {
	prev, next uint32 // siblings, 0 if none
	level      uint32 // 0 for leaves
	flags      uint16
	cycle      uint16 // of the VACUUM that saw the page split
}

func getBtreeSpecial(p *page.Page) (btreeSpecial, error) {
	b := p.SpecialArea(lenBtreeSpecial)
	if b == nil {
		return btreeSpecial{}, errBadPage
	}
	return btreeSpecial{
		prev:  binary.LittleEndian.Uint32(b),
		next:  binary.LittleEndian.Uint32(b[4:]),
		level: binary.LittleEndian.Uint32(b[8:]),
		flags: binary.LittleEndian.Uint16(b[12:]),
		cycle: binary.LittleEndian.Uint16(b[14:]),
	}, nil
}

func (s btreeSpecial) put(p *page.Page) error {
	b := p.SpecialArea(lenBtreeSpecial)
	if b == nil {
		return errBadPage
	}
	binary.LittleEndian.PutUint32(b, s.prev)
	binary.LittleEndian.PutUint32(b[4:], s.next)
	binary.LittleEndian.PutUint32(b[8:], s.level)
	binary.LittleEndian.PutUint16(b[12:], s.flags)
	binary.LittleEndian.PutUint16(b[14:], s.cycle)
	return nil
}

// firstData is the offset number of the first item that is not the high key
// (P_FIRSTDATAKEY): the rightmost page of a level has no high key.
func (s btreeSpecial) firstData() int {
	if s.next == 0 {
		return btreeFirstKey
	}
	return btreeFirstKey + 1
}

// initBtree makes p an empty btree page with this special area.
func initBtree(p *page.Page, s btreeSpecial) error {
	p.Init(lenBtreeSpecial)
	return s.put(p)
}

// btreeFinishSplit marks that the parent of a split page knows its right half
// (_bt_clear_incomplete_split).
func btreeFinishSplit(p *page.Page) error {
	s, err := getBtreeSpecial(p)
	if err != nil {
		return err
	}
	s.flags &^= btreeIncompleteSplit
	return s.put(p)
}

// restoreBtreeItems fills an empty page with the tuple area of another, the
// last item first (_bt_restore_page).
func restoreBtreeItems(p *page.Page, area []byte) error {
	n := 0
	for r := walrecord.NewCursor(area); len(r.Rest) > 0; n++ {
		takeAlignedIndexTuple(&r)
		if err := checkRead(&r); err != nil {
			return err
		}
	}
	lower, upper := page.HeaderSize+n*page.PointerSize, p.Special()-len(area)
	if lower > upper {
		return page.ErrNoSpace
	}
	p.SetLower(lower)
	p.SetUpper(upper)
	copy(p[upper:], area)
	for r := walrecord.NewCursor(area); n > 0; n-- {
		size := len(takeAlignedIndexTuple(&r))
		if err := p.SetPointer(uint16(n), page.MakePointer(upper, page.Normal, size)); err != nil {
			return err
		}
		upper += size
	}
	return nil
}
