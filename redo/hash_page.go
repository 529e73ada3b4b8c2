package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
)

// Bits of hasho_flag (src/include/access/hash.h).
const (
	hashOverflow     = 0x01
	hashBitmap       = 0x04
	hashMetaPage     = 0x08
	hashNeedsCleanup = 0x40
	hashHasDead      = 0x80
)

const (
	lenHashSpecial = 16
	hashPageID     = 0xFF80
)

// hashSpecial is the special area of a hash page (HashPageOpaqueData) but for
// its constant end.
type hashSpecial struct {
	prev, next, bucket uint32 // prev of a primary page: the highest bucket when it was last split
	flags              uint16
}

func (s hashSpecial) put(b []byte) {
	binary.LittleEndian.PutUint32(b, s.prev)
	binary.LittleEndian.PutUint32(b[4:], s.next)
	binary.LittleEndian.PutUint32(b[8:], s.bucket)
	binary.LittleEndian.PutUint16(b[12:], s.flags)
}

// changeHashSpecial edits the special area.
func changeHashSpecial(p *page.Page, edit func(*hashSpecial)) error {
	b := p.SpecialArea(lenHashSpecial)
	if b == nil {
		return errBadPage
	}
	s := hashSpecial{
		prev:   binary.LittleEndian.Uint32(b),
		next:   binary.LittleEndian.Uint32(b[4:]),
		bucket: binary.LittleEndian.Uint32(b[8:]),
		flags:  binary.LittleEndian.Uint16(b[12:]),
	}
	edit(&s)
	s.put(b)
	return nil
}

// initHash makes p an empty hash page (_hash_pageinit, _hash_initbuf).
func initHash(p *page.Page, s hashSpecial) error {
	p.Init(lenHashSpecial)
	b := p.SpecialArea(lenHashSpecial)
	if b == nil {
		return errBadPage
	}
	s.put(b)
	binary.LittleEndian.PutUint16(b[14:], hashPageID)
	return nil
}

// initHashBitmap makes p a bitmap of size bytes in which all overflow pages are
// used (_hash_initbitmapbuffer).
func initHashBitmap(p *page.Page, size int) error {
	s := hashSpecial{prev: invalidBlock, next: invalidBlock, bucket: invalidBlock, flags: hashBitmap}
	if err := initHash(p, s); err != nil {
		return err
	}
	bitmap := p.Contents()
	if size > len(bitmap) {
		return errBadRecord
	}
	for k := range bitmap[:size] {
		bitmap[k] = 0xFF
	}
	p.SetLower(page.HeaderSize + size)
	return nil
}
