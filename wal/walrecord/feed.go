package walrecord

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/walhaven/walhaven/wal"
)

// RecordHeaderSize is the size of a record's fixed header in bytes
// (SizeOfXLogRecord).
const RecordHeaderSize = 24

// MaxRecordSize bounds a record in bytes: PostgreSQL reads none that one
// allocation cannot hold (MaxAllocSize).
const MaxRecordSize = 0x3fffffff

const (
	crcOffset = 20 // of xl_crc; the checksum covers everything else

	infoSwitch          = 0x40 // XLOG_SWITCH
	infoOverwrite       = 0xD0 // XLOG_OVERWRITE_CONTRECORD
	overwriteRecordSize = RecordHeaderSize + 2 + 16
	overwriteHead       = RecordHeaderSize + 2 + 8 // up to the end of the LSN that it names
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// feed consumes data page by page. It returns early on an error, with s.pos
// after the bytes consumed.
func (s *Scanner) feed(data []byte) error {
	for len(data) > 0 {
		var n int
		var err error
		switch page := s.pos.PageStart(); {
		case s.state == stateSkip:
			n = s.skip(data)
		case s.pos == page || s.headN > 0:
			n, err = s.feedPageHeader(page, data)
		default:
			rest := int(page + wal.BlockSize - s.pos)
			n, err = s.feedRecords(data[:min(rest, len(data))])
		}
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// fail makes err stick and moves back to the page or record that it names.
func (s *Scanner) fail(at wal.LSN, err error) error {
	s.err = err
	s.pos = at
	return err
}

// failRecord makes err stick and leaves the scanner in the record that starts at
// start, whether it arrived whole or in parts.
func (s *Scanner) failRecord(start wal.LSN, err error) error {
	s.state, s.recStart = stateRecHead, start
	return s.fail(start, err)
}

func (s *Scanner) skip(data []byte) int {
	n := min(len(data), int(s.skipTo-s.pos))
	s.pos += wal.LSN(n)
	if s.pos == s.skipTo {
		s.state = stateBetween
	}
	return n
}

// feedRecords consumes bytes of one page, after its header, until they or the
// page end or a record switches segments.
func (s *Scanner) feedRecords(b []byte) (n int, err error) {
	for n < len(b) && s.state != stateSkip {
		var m int
		switch s.state {
		case stateBetween:
			m, err = s.feedBetween(b[n:])
		case stateRecHead:
			m, err = s.feedRecordHead(b[n:])
		case stateRecData:
			m, err = s.feedRecordData(b[n:])
		case statePassOver:
			m = min(len(b)-n, int(s.left))
			s.pos += wal.LSN(m)
			if s.left -= uint32(m); s.left == 0 {
				s.state = stateBetween
			}
		}
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// feedBetween passes padding and then, as the fast path, all records that lie
// whole in b. What is left of b begins a record that does not.
func (s *Scanner) feedBetween(b []byte) (n int, err error) {
	if pad := int(-s.pos & 7); pad > 0 {
		n = min(pad, len(b))
		if err := s.checkPadding(b[:n]); err != nil {
			return 0, err
		}
		s.pos += wal.LSN(n)
	}
	for len(b)-n >= RecordHeaderSize {
		rec := b[n:]
		total := binary.LittleEndian.Uint32(rec)
		if uint64(total) > uint64(len(rec)) {
			break
		}
		start := s.pos
		if err := s.checkRecordHeader(start, rec); err != nil {
			return n, err
		}
		rec = rec[:total]
		crc := crc32.Update(0, castagnoli, rec[RecordHeaderSize:])
		if err := s.checkRecordEnd(start, rec, crc); err != nil {
			return n, err
		}
		s.pos += wal.LSN(total)
		n += int(total)
		s.accept(start, rec)
		if err := s.sink.whole(start, s.recordEnd, rec); err != nil {
			return n, err
		}
		if s.state == stateSkip {
			return n, nil
		}
		// The common case of padding that is there as well.
		if pad := int(s.recordEnd - s.pos); pad <= len(b)-n {
			if err := s.checkPadding(b[n : n+pad]); err != nil {
				return n, err
			}
			n += pad
			s.pos = s.recordEnd
		} else {
			if err := s.checkPadding(b[n:]); err != nil {
				return n, err
			}
			s.pos += wal.LSN(len(b) - n)
			return len(b), nil
		}
	}
	if n < len(b) {
		s.state = stateRecHead
		s.recStart, s.recN = s.pos, 0
	}
	return n, nil
}

// feedRecordHead collects a record's header.
func (s *Scanner) feedRecordHead(b []byte) (int, error) {
	before := s.recN
	n := copy(s.rec[s.recN:RecordHeaderSize], b)
	s.recN += n
	s.pos += wal.LSN(n)
	// The length never crosses a page; it is all that a page header in the
	// middle of the record header needs.
	if before < 4 && s.recN >= 4 {
		if err := s.checkLength(s.recStart, binary.LittleEndian.Uint32(s.rec[:])); err != nil {
			return n, err
		}
	}
	if s.recN < RecordHeaderSize {
		return n, nil
	}
	if err := s.checkRecordHeader(s.recStart, s.rec[:]); err != nil {
		return n, err
	}
	s.left = binary.LittleEndian.Uint32(s.rec[:]) - RecordHeaderSize
	s.crc = 0
	s.state = stateRecData
	if err := s.sink.begin(s.recStart, s.rec[:RecordHeaderSize]); err != nil {
		return n, err
	}
	if s.left == 0 {
		return n, s.finishRecord()
	}
	return n, nil
}

// feedRecordData consumes the part of the record's data that b holds.
func (s *Scanner) feedRecordData(b []byte) (int, error) {
	n := min(len(b), int(s.left))
	part := b[:n]
	s.crc = crc32.Update(s.crc, castagnoli, part)
	if s.recN < len(s.rec) {
		s.recN += copy(s.rec[s.recN:], part)
	}
	s.sink.more(part)
	s.pos += wal.LSN(n)
	if s.left -= uint32(n); s.left == 0 {
		return n, s.finishRecord()
	}
	return n, nil
}

func (s *Scanner) finishRecord() error {
	rec := s.rec[:s.recN]
	if err := s.checkRecordEnd(s.recStart, rec, s.crc); err != nil {
		return err
	}
	s.state = stateBetween
	s.accept(s.recStart, rec)
	return s.sink.finish(s.recStart, s.recordEnd)
}

// accept makes the record that starts at start and ends at s.pos the last whole
// one. rec holds at least its header.
func (s *Scanner) accept(start wal.LSN, rec []byte) {
	s.lastRecord = start
	s.recordEnd = s.pos.Align8()
	s.recordTLI = s.tli
	if rec[17] == byte(RmgrXLOG) && rec[16]&0xF0 == infoSwitch {
		// The rest of the segment holds nothing, not even page headers.
		if size := s.opts.SegmentSize; size.Offset(s.recordEnd) != 0 {
			s.recordEnd = size.SegmentStart(s.recordEnd) + wal.LSN(size)
			s.skipTo = s.recordEnd
			s.state = stateSkip
		}
	}
}
