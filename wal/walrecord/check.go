package walrecord

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/walhaven/walhaven/wal"
)

// checkLength judges xl_tot_len.
func (s *Scanner) checkLength(start wal.LSN, total uint32) error {
	if total == 0 {
		s.state = stateBetween
		return s.fail(start, &EndError{LSN: start, Reason: EndZeroLength})
	}
	if total < RecordHeaderSize || total > MaxRecordSize {
		return s.failRecord(start, corrupt(start, "record length %d is out of bounds", total))
	}
	return nil
}

// checkRecordHeader judges the header at the start of rec before its length is
// relied on for more than what was already bounded.
func (s *Scanner) checkRecordHeader(start wal.LSN, rec []byte) error {
	total := binary.LittleEndian.Uint32(rec)
	if total < RecordHeaderSize || total > MaxRecordSize {
		return s.checkLength(start, total)
	}
	prev := wal.LSN(binary.LittleEndian.Uint64(rec[8:]))
	if s.lastRecord != 0 {
		if prev != s.lastRecord {
			return s.failRecord(start, corrupt(start, "record links back to %s, expected %s", prev, s.lastRecord))
		}
	} else if prev >= start {
		return s.failRecord(start, corrupt(start, "record links to %s, which is not before it", prev))
	}
	if rmid := rec[17]; rmid > maxBuiltinRmgr && (rmid < minCustomRmgr || s.major == 14) {
		return s.failRecord(start, corrupt(start, "unknown resource manager %d", rmid))
	}
	return nil
}

// checkRecordEnd judges a record of which all bytes were seen: dataCRC covers
// those after the header, rec holds at least overwriteHead bytes or all.
func (s *Scanner) checkRecordEnd(start wal.LSN, rec []byte, dataCRC uint32) error {
	crc := crc32.Update(dataCRC, castagnoli, rec[:crcOffset])
	if want := binary.LittleEndian.Uint32(rec[crcOffset:]); crc != want {
		return s.failRecord(start, corrupt(start, "record checksum is %08X, computed %08X", want, crc))
	}
	if s.wantOverwrite {
		return s.checkOverwrite(start, rec)
	}
	return nil
}

// checkOverwrite judges the record after a record cut short: it must say so,
// and name the one that was dropped.
func (s *Scanner) checkOverwrite(start wal.LSN, rec []byte) error {
	total := binary.LittleEndian.Uint32(rec)
	if rec[17] != byte(RmgrXLOG) || rec[16]&0xF0 != infoOverwrite ||
		total != overwriteRecordSize || rec[RecordHeaderSize] != blockIDDataShort {
		return s.failRecord(start, corrupt(start, "page replaces a lost continuation, but its first record does not"))
	}
	named := wal.LSN(binary.LittleEndian.Uint64(rec[RecordHeaderSize+2:]))
	if s.overwriteNames && named != s.overwritten {
		return s.failRecord(start, corrupt(start, "record replaces the one at %s, but the one at %s was cut short", named, s.overwritten))
	}
	if named >= start {
		return s.failRecord(start, corrupt(start, "record replaces the one at %s, which is not before it", named))
	}
	s.overwritten = named
	s.wantOverwrite, s.overwriteNames = false, false
	return nil
}

// feedPageHeader consumes the header of the page that starts at page.
func (s *Scanner) feedPageHeader(page wal.LSN, data []byte) (int, error) {
	size := s.headerSize(page)
	n, raw := size, data
	if s.headN > 0 || len(data) < size {
		n = copy(s.header[s.headN:size], data)
		s.headN += n
		raw = s.header[:s.headN]
	}
	if len(raw) < size {
		s.pos += wal.LSN(n)
		return n, nil
	}
	var h PageHeader
	h.parseShort(raw)
	if size == LongPageHeaderSize {
		h.parseLong(raw)
	}
	if err := s.checkPageHeader(page, &h); err != nil {
		s.headN = 0
		return 0, s.fail(page, err)
	}
	if err := s.checkContinuation(page, &h); err != nil {
		s.headN = 0
		return 0, s.fail(page, err)
	}
	if err := s.checkPadding(raw[headerPadding:ShortPageHeaderSize]); err != nil {
		s.headN = 0
		return 0, s.fail(page, err)
	}
	s.headN = 0
	s.tli = h.TLI
	s.pos += wal.LSN(n)
	return n, nil
}

// headerPadding is where the four bytes begin that fill the header's struct.
const headerPadding = 20

// errPadding is the reason of bytes other than zero where nothing is.
const errPadding = "padding is not zero"

// checkPadding judges bytes that belong to nothing, if it was asked for. Those at
// s.pos come behind the last whole record, which ends in front of them.
func (s *Scanner) checkPadding(b []byte) error {
	if !s.opts.ZeroPadding {
		return nil
	}
	for _, c := range b {
		if c != 0 {
			return s.fail(s.pos, corrupt(s.pos, errPadding))
		}
	}
	return nil
}

// checkPageHeader judges a header by itself and by the pages before, and learns
// from it what the options left open.
func (s *Scanner) checkPageHeader(page wal.LSN, h *PageHeader) error {
	if h.zero() {
		return &EndError{LSN: page, Torn: s.torn(), Reason: EndZeroPage}
	}
	major := MajorOfMagic(h.Magic)
	if major == 0 {
		return corrupt(page, "page magic %04X is of no supported version", h.Magic)
	}
	if s.major != 0 && major != s.major {
		return corrupt(page, "page magic %04X is of PostgreSQL %d, expected %d", h.Magic, major, s.major)
	}
	if h.Flags&^pageFlagsKnown != 0 {
		return corrupt(page, "page has unknown flags %04X", uint16(h.Flags))
	}
	long := s.opts.SegmentSize.Offset(page) == 0
	if h.PageStart != page {
		if h.PageStart < page && h.PageStart == h.PageStart.PageStart() {
			return &EndError{LSN: page, Torn: s.torn(), Reason: EndStalePage}
		}
		return corrupt(page, "page says that it belongs at %s", h.PageStart)
	}
	if (h.Flags&PageLongHeader != 0) != long {
		return corrupt(page, "page flags %04X disagree with its place in the segment", uint16(h.Flags))
	}
	if h.TLI == 0 || h.TLI < s.tli {
		return corrupt(page, "page of timeline %d after timeline %d", h.TLI, s.tli)
	}
	if s.opts.MaxTLI != 0 && h.TLI > s.opts.MaxTLI {
		return corrupt(page, "page of timeline %d, expected at most %d", h.TLI, s.opts.MaxTLI)
	}
	if long {
		if err := s.checkLongHeader(page, h); err != nil {
			return err
		}
	}
	s.major = major
	return nil
}

func (s *Scanner) checkLongHeader(page wal.LSN, h *PageHeader) error {
	if s.opts.SystemID != 0 && h.SystemID != s.opts.SystemID {
		return corrupt(page, "page of system %s, expected %s", h.SystemID, s.opts.SystemID)
	}
	if h.SegmentSize != uint32(s.opts.SegmentSize) {
		return corrupt(page, "page of a segment of %d bytes, expected %d", h.SegmentSize, uint32(s.opts.SegmentSize))
	}
	if h.BlockSize != wal.BlockSize {
		return corrupt(page, "page size is %d bytes, expected %d", h.BlockSize, wal.BlockSize)
	}
	s.opts.SystemID = h.SystemID
	return nil
}

// torn is the start of the record that a missing page cuts, 0 if none.
func (s *Scanner) torn() wal.LSN {
	if s.state == stateRecHead || s.state == stateRecData {
		return s.recStart
	}
	return 0
}

// checkContinuation compares what the page says of a record begun before with
// what was seen of it, and prepares for what follows the header.
func (s *Scanner) checkContinuation(page wal.LSN, h *PageHeader) error {
	continued := h.Flags&PageContinued != 0
	if continued != (h.Remaining != 0) || (continued && h.Flags&PageOverwritten != 0) {
		return corrupt(page, "page flags %04X contradict %d remaining bytes", uint16(h.Flags), h.Remaining)
	}
	searching := s.searching
	s.searching = false

	if h.Flags&PageOverwritten != 0 {
		return s.overwrite(page, searching)
	}
	var remaining uint32
	switch s.state {
	case stateRecHead:
		remaining = binary.LittleEndian.Uint32(s.rec[:]) - uint32(s.recN)
	case stateRecData, statePassOver:
		remaining = s.left
	}
	if searching && continued && h.Remaining <= MaxRecordSize {
		s.state, s.left = statePassOver, h.Remaining
		return nil
	}
	if h.Remaining != remaining {
		return corrupt(page, "page continues a record by %d bytes, expected %d", h.Remaining, remaining)
	}
	return nil
}

// overwrite drops the record that the crash before this page cut short.
func (s *Scanner) overwrite(page wal.LSN, searching bool) error {
	switch s.state {
	case stateRecHead, stateRecData:
		s.overwritten, s.overwriteNames = s.recStart, true
	case statePassOver:
	default:
		if !searching {
			return corrupt(page, "page replaces a lost continuation, but no record was cut short")
		}
	}
	s.sink.discard()
	s.state = stateBetween
	s.wantOverwrite = true
	return nil
}
