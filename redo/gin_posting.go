package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// A page of a posting tree has no line pointers: after the header a right bound
// (a TID, padded to 8 bytes), then its payload up to pd_lower. Inner pages hold
// posting items there, maxoff of them; leaves hold segments.
const (
	lenGinBound       = 8
	offGinPayload     = page.HeaderSize + lenGinBound
	lenGinPostingItem = 4 + lenTID // child, highest TID below it
)

// ginPayload is all the room for the payload of a posting tree's page, nil if
// the page has no such.
func ginPayload(p *page.Page) []byte {
	if b := p.Contents(); len(b) >= lenGinBound {
		return b[lenGinBound:]
	}
	return nil
}

// setGinPayload says how long the payload is (GinDataPageSetDataSize).
func setGinPayload(p *page.Page, n int) { p.SetLower(offGinPayload + n) }

// ginPostingItems is the room for maxoff+more posting items.
func ginPostingItems(p *page.Page, maxoff uint16, more int) ([]byte, error) {
	n := (int(maxoff) + more) * lenGinPostingItem
	b := ginPayload(p)
	if n > len(b) {
		return nil, errBadPage
	}
	return b[:n], nil
}

// insertGinPostingItem notes in an inner page that a child was split: item is
// that of the left half (ginRedoInsertData, GinDataPageAddPostingItem).
func insertGinPostingItem(p *page.Page, offnum int, item []byte, right uint32) error {
	s, err := getGinSpecial(p)
	if err != nil {
		return err
	}
	items, err := ginPostingItems(p, s.maxoff, 1)
	if err != nil {
		return err
	}
	if offnum < 1 || offnum > int(s.maxoff) {
		return page.ErrOffset
	}
	at := (offnum - 1) * lenGinPostingItem
	putBlockID(items[at:], right)
	copy(items[at+lenGinPostingItem:], items[at:])
	copy(items[at:], item)
	setGinPayload(p, len(items))
	s.maxoff++
	return s.put(p)
}

// deleteGinPostingItem is GinPageDeletePostingItem.
func deleteGinPostingItem(p *page.Page, offnum int) error {
	s, err := getGinSpecial(p)
	if err != nil {
		return err
	}
	items, err := ginPostingItems(p, s.maxoff, 0)
	if err != nil {
		return err
	}
	if offnum < 1 || offnum > int(s.maxoff) {
		return page.ErrOffset
	}
	at := (offnum - 1) * lenGinPostingItem
	copy(items[at:], items[at+lenGinPostingItem:])
	setGinPayload(p, len(items)-lenGinPostingItem)
	s.maxoff--
	return s.put(p)
}

// Actions on the segments of a leaf (src/include/access/ginxlog.h).
const (
	ginSegmentDelete   = 1
	ginSegmentInsert   = 2
	ginSegmentReplace  = 3
	ginSegmentAddItems = 4
)

// recompressGinLeaf edits the segments of a leaf (ginRedoRecompress): data is
// ginxlogRecompressDataLeaf, whose actions rise by the number of the old segment
// that they are about.
func recompressGinLeaf(p *page.Page, data []byte) error {
	old, err := ginLeafSegments(p)
	if err != nil {
		return err
	}
	var out ginSegmentWriter
	r := walrecord.NewCursor(data)
	next := 0 // The number of the segment that old begins with.
	for range r.U16() {
		segment, action := int(r.U8()), r.U8()
		for ; next < segment && !old.Bad; next++ {
			out.copy(old.Bytes(ginSegmentSize(old.Rest)))
		}
		if next != segment {
			return errBadRecord
		}
		var fresh, items []byte
		switch action {
		case ginSegmentDelete:
		case ginSegmentInsert, ginSegmentReplace:
			fresh = r.Bytes(ginSegmentSize(r.Rest))
		case ginSegmentAddItems:
			items = r.Bytes(int(r.U16()) * lenTID)
		default:
			return errBadRecord
		}
		var replaced []byte
		if action != ginSegmentInsert {
			replaced = old.Bytes(ginSegmentSize(old.Rest))
			next++
		}
		if r.Bad || old.Bad {
			break
		}
		if action == ginSegmentAddItems {
			out.merge(replaced, items)
		} else {
			out.copy(fresh)
		}
	}
	switch {
	case r.Bad:
		return ErrTruncated
	case old.Bad:
		return errBadPage
	}
	out.copy(old.Rest)
	payload := ginPayload(p)
	if out.bad || out.n > len(payload) {
		return errBadRecord
	}
	setGinPayload(p, copy(payload, out.buf[:out.n]))
	return nil
}

// ginLeafSegments is the payload of a leaf, aliasing the page.
func ginLeafSegments(p *page.Page) (walrecord.Cursor, error) {
	s, err := getGinSpecial(p)
	if err != nil {
		return walrecord.Cursor{}, err
	}
	if s.flags&ginCompressed == 0 {
		if err := compressGinLeaf(p, s); err != nil {
			return walrecord.Cursor{}, err
		}
	}
	payload, n := ginPayload(p), p.Lower()-offGinPayload
	if n < 0 || n > len(payload) {
		return walrecord.Cursor{}, errBadPage
	}
	return walrecord.NewCursor(payload[:n]), nil
}

// compressGinLeaf converts a leaf of plain TIDs, from before 9.4, to one
// segment.
func compressGinLeaf(p *page.Page, s ginSpecial) error {
	payload := ginPayload(p)
	n := int(s.maxoff) * lenTID
	if n > len(payload) {
		return errBadPage
	}
	var out ginSegmentWriter
	out.merge(nil, payload[:n])
	if out.bad || out.n > len(payload) {
		return errBadPage
	}
	setGinPayload(p, copy(payload, out.buf[:out.n]))
	s.flags |= ginCompressed
	s.maxoff = 0
	return s.put(p)
}

// lenGinSegment is the size of a segment's header: the first TID and the number
// of bytes that follow (GinPostingList).
const lenGinSegment = lenTID + 2

// ginSegmentSize is the size of the segment that b begins with, padded to an
// even length; -1 when b is too short for its header.
func ginSegmentSize(b []byte) int {
	if len(b) < lenGinSegment {
		return -1
	}
	n := int(binary.LittleEndian.Uint16(b[lenTID:]))
	return lenGinSegment + n + n&1
}
