package walrecord

import (
	"encoding/binary"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// Sizes of page headers in bytes (SizeOfXLogShortPHD, SizeOfXLogLongPHD).
const (
	ShortPageHeaderSize = 24
	LongPageHeaderSize  = 40
)

// PageFlags is xlp_info of src/include/access/xlog_internal.h.
type PageFlags uint16

// Bits of PageFlags.
const (
	PageContinued    PageFlags = 0x0001 // begins with the rest of a record (XLP_FIRST_IS_CONTRECORD)
	PageLongHeader   PageFlags = 0x0002 // first page of a segment (XLP_LONG_HEADER)
	PageBkpRemovable PageFlags = 0x0004 // an archiver may strip images (XLP_BKP_REMOVABLE)
	PageOverwritten  PageFlags = 0x0008 // the continuation was lost (XLP_FIRST_IS_OVERWRITE_CONTRECORD)

	pageFlagsKnown = PageContinued | PageLongHeader | PageBkpRemovable | PageOverwritten
)

// PageHeader is the header of a WAL page (XLogPageHeaderData, and
// XLogLongPageHeaderData on the first page of a segment).
type PageHeader struct {
	Magic     uint16
	Flags     PageFlags
	TLI       wal.TLI
	PageStart wal.LSN // xlp_pageaddr
	Remaining uint32  // bytes of a continued record from this page on (xlp_rem_len)

	// Only with PageLongHeader.
	SystemID    wal.SystemID
	SegmentSize uint32
	BlockSize   uint32
}

// Size is the length of the header on the page in bytes.
func (h *PageHeader) Size() int {
	if h.Flags&PageLongHeader != 0 {
		return LongPageHeaderSize
	}
	return ShortPageHeaderSize
}

// ParsePageHeader reads the header at the start of b without judging it. It
// fails only when b is too short for the header that its flags announce.
func ParsePageHeader(b []byte) (PageHeader, error) {
	var h PageHeader
	if len(b) < ShortPageHeaderSize {
		return h, fmt.Errorf("WAL page header needs %d bytes, got %d", ShortPageHeaderSize, len(b))
	}
	h.parseShort(b)
	if h.Flags&PageLongHeader != 0 {
		if len(b) < LongPageHeaderSize {
			return h, fmt.Errorf("long WAL page header needs %d bytes, got %d", LongPageHeaderSize, len(b))
		}
		h.parseLong(b)
	}
	return h, nil
}

func (h *PageHeader) parseShort(b []byte) {
	_ = b[ShortPageHeaderSize-1]
	h.Magic = binary.LittleEndian.Uint16(b[0:])
	h.Flags = PageFlags(binary.LittleEndian.Uint16(b[2:]))
	h.TLI = wal.TLI(binary.LittleEndian.Uint32(b[4:]))
	h.PageStart = wal.LSN(binary.LittleEndian.Uint64(b[8:]))
	h.Remaining = binary.LittleEndian.Uint32(b[16:])
}

func (h *PageHeader) parseLong(b []byte) {
	_ = b[LongPageHeaderSize-1]
	h.SystemID = wal.SystemID(binary.LittleEndian.Uint64(b[24:]))
	h.SegmentSize = binary.LittleEndian.Uint32(b[32:])
	h.BlockSize = binary.LittleEndian.Uint32(b[36:])
}

// Append adds the header's bytes to dst: long when its flags say so.
func (h *PageHeader) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, h.Magic)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(h.Flags))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.TLI))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.PageStart))
	dst = binary.LittleEndian.AppendUint32(dst, h.Remaining)
	dst = append(dst, 0, 0, 0, 0)
	if h.Flags&PageLongHeader != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(h.SystemID))
		dst = binary.LittleEndian.AppendUint32(dst, h.SegmentSize)
		dst = binary.LittleEndian.AppendUint32(dst, h.BlockSize)
	}
	return dst
}

// zero says whether every field is zero, as on a page never written.
func (h *PageHeader) zero() bool { return *h == PageHeader{} }
