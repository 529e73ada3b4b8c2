package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
)

// Special area of gin pages (GinPageOpaqueData) and its flags
// (src/include/access/ginblock.h).
const (
	lenGinSpecial = 8
	lenGinMeta    = 56 // GinMetaPageData

	ginData            = 0x01
	ginLeaf            = 0x02
	ginDeleted         = 0x04
	ginMetaPage        = 0x08
	ginList            = 0x10
	ginListFullRow     = 0x20
	ginIncompleteSplit = 0x40
	ginCompressed      = 0x80
)

type ginSpecial struct {
	right         uint32
	maxoff, flags uint16
}

// initGin makes p an empty gin page (GinInitPage).
func initGin(p *page.Page, flags uint16) {
	p.Init(lenGinSpecial)
	b := p[page.Size-lenGinSpecial:]
	binary.LittleEndian.PutUint32(b, invalidBlock)
	binary.LittleEndian.PutUint16(b[6:], flags)
}

func getGinSpecial(p *page.Page) (ginSpecial, error) {
	b := p.SpecialArea(lenGinSpecial)
	if b == nil {
		return ginSpecial{}, errBadPage
	}
	return ginSpecial{
		right:  binary.LittleEndian.Uint32(b),
		maxoff: binary.LittleEndian.Uint16(b[4:]),
		flags:  binary.LittleEndian.Uint16(b[6:]),
	}, nil
}

func (s ginSpecial) put(p *page.Page) error {
	b := p.SpecialArea(lenGinSpecial)
	if b == nil {
		return errBadPage
	}
	binary.LittleEndian.PutUint32(b, s.right)
	binary.LittleEndian.PutUint16(b[4:], s.maxoff)
	binary.LittleEndian.PutUint16(b[6:], s.flags)
	return nil
}

// changeGin edits the special area.
func changeGin(p *page.Page, edit func(ginSpecial) ginSpecial) error {
	s, err := getGinSpecial(p)
	if err != nil {
		return err
	}
	return edit(s).put(p)
}

// setGinRight sets the link to the right sibling or the next page of a list.
func setGinRight(p *page.Page, block uint32) error {
	return changeGin(p, func(s ginSpecial) ginSpecial {
		s.right = block
		return s
	})
}

// rebuildGinMeta makes p a metapage with these contents.
func rebuildGinMeta(p *page.Page, meta []byte) error {
	initGin(p, ginMetaPage)
	p.SetLower(page.HeaderSize + copy(p.Contents(), meta))
	return nil
}

// ginFinishSplit is ginRedoClearIncompleteSplit.
func ginFinishSplit(p *page.Page) error {
	return changeGin(p, func(s ginSpecial) ginSpecial {
		s.flags &^= ginIncompleteSplit
		return s
	})
}
