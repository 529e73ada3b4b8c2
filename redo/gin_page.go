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

// changeGinSpecial edits the special area.
func changeGinSpecial(p *page.Page, edit func(*ginSpecial)) error {
	s, err := getGinSpecial(p)
	if err != nil {
		return err
	}
	edit(&s)
	return s.put(p)
}

// rebuildGinMeta makes p a metapage with these contents.
func rebuildGinMeta(p *page.Page, meta []byte) error {
	initGin(p, ginMetaPage)
	p.SetLower(page.HeaderSize + copy(p.Contents(), meta))
	return nil
}

// ginFinishSplit is ginRedoClearIncompleteSplit.
func ginFinishSplit(p *page.Page) error {
	return changeGinSpecial(p, func(s *ginSpecial) { s.flags &^= ginIncompleteSplit })
}
