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

// Special area (HashPageOpaqueData).
const (
	lenHashSpecial = 16
	offHashPrev    = 0 // of a primary page: the highest bucket when it was last split
	offHashNext    = 4
	offHashBucket  = 8
	offHashFlags   = 12
	offHashID      = 14

	hashPageID = 0xFF80
)

// hashSpecial is the special area but for its constant end.
type hashSpecial struct {
	prev, next, bucket uint32
	flags              uint16
}

// setHashLink sets a block number in the special area.
func setHashLink(p *page.Page, at int, block uint32) error {
	b := p.SpecialArea(lenHashSpecial)
	if b == nil {
		return errBadPage
	}
	binary.LittleEndian.PutUint32(b[at:], block)
	return nil
}

// changeHashFlags clears, then sets bits of hasho_flag.
func changeHashFlags(p *page.Page, without, with uint16) error {
	b := p.SpecialArea(lenHashSpecial)
	if b == nil {
		return errBadPage
	}
	flags := binary.LittleEndian.Uint16(b[offHashFlags:])
	binary.LittleEndian.PutUint16(b[offHashFlags:], flags&^without|with)
	return nil
}

// initHash makes p an empty hash page (_hash_pageinit, _hash_initbuf).
func initHash(p *page.Page, s hashSpecial) error {
	p.Init(lenHashSpecial)
	b := p.SpecialArea(lenHashSpecial)
	if b == nil {
		return errBadPage
	}
	binary.LittleEndian.PutUint32(b[offHashPrev:], s.prev)
	binary.LittleEndian.PutUint32(b[offHashNext:], s.next)
	binary.LittleEndian.PutUint32(b[offHashBucket:], s.bucket)
	binary.LittleEndian.PutUint16(b[offHashFlags:], s.flags)
	binary.LittleEndian.PutUint16(b[offHashID:], hashPageID)
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
