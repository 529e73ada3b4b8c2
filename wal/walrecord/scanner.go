package walrecord

import (
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// ScannerOptions says where WAL begins and what it must agree with. Zero values
// of the last five fields are learned from the first page that tells.
type ScannerOptions struct {
	// Start is the position of the first byte to be fed: the start of a record,
	// or the start of a page. From a page start the first record is searched:
	// the rest of a record that began before is passed over without proof.
	Start wal.LSN

	SegmentSize wal.SegmentSize // required
	PGVersion   uint32          // server_version_num or a major version
	SystemID    wal.SystemID
	TLI         wal.TLI // lowest timeline that the first page may name
	MaxTLI      wal.TLI // highest timeline that any page may name

	// ZeroPadding refuses bytes other than zero where no checksum covers them,
	// behind records and in page headers. PostgreSQL writes zeros there, but its own
	// reader does not look.
	ZeroPadding bool
}

// Scanner checks consecutive WAL as it arrives and keeps the position of the
// last whole record. It does not allocate while bytes are good.
//
// The zero value is not usable. A Scanner is a plain value: [Scanner.Clone] or
// an assignment takes a snapshot, and assigning the snapshot back undoes what
// was fed since. It is not safe for concurrent use.
//
// Invariants:
//  1. lastRecord < RecordEnd, once a record was seen.
//  2. RecordEnd is a multiple of 8; after XLOG_SWITCH it is a segment start.
//  3. Every record between the first one and RecordEnd had the right back link
//     and checksum, and every page header between them was right.
type Scanner struct {
	opts  ScannerOptions
	major int
	pos   wal.LSN // next byte to be fed
	err   error   // sticky

	// Whole records.
	lastRecord wal.LSN // start; 0 = none yet, so any lower back link is accepted
	recordEnd  wal.LSN
	recordTLI  wal.TLI // tli when recordEnd was reached
	searching  bool    // the next page may continue a record that began before Start

	// The page.
	tli    wal.TLI // of the last page header
	header [LongPageHeaderSize]byte
	headN  int // bytes of header collected; 0 when a header arrives whole

	// The record, or what else fills the page.
	state    scanState
	recStart wal.LSN
	rec      [overwriteHead]byte // first bytes of a record that does not arrive whole
	recN     int
	left     uint32 // bytes still to come: of the record's data, or of what is passed over
	crc      uint32
	skipTo   wal.LSN // stateSkip

	overwritten    wal.LSN // start of the record last found cut short
	wantOverwrite  bool    // the next record must be OVERWRITE_CONTRECORD
	overwriteNames bool    // ... and name overwritten

	sink *sink // Reader's; nil otherwise
}

// scanState says what the next byte after the page header is.
type scanState uint8

const (
	stateBetween  scanState = iota // padding up to a multiple of 8, then a record
	stateRecHead                   // within a record's header
	stateRecData                   // within a record's data
	statePassOver                  // within a record that began before Start
	stateSkip                      // after XLOG_SWITCH, up to skipTo; page headers are absent
)

// NewScanner starts at o.Start. Options that cannot be right are reported by
// the first Feed.
func NewScanner(o ScannerOptions) *Scanner {
	s := &Scanner{opts: o, major: Major(o.PGVersion)}
	s.Reset(o.Start)
	return s
}

// Reset starts anew at the given position, as NewScanner does, and keeps
// everything learned of the cluster except the timeline.
func (s *Scanner) Reset(at wal.LSN) {
	*s = Scanner{opts: s.opts, major: s.major, sink: s.sink}
	s.opts.Start = at
	s.pos, s.recordEnd = at, at
	s.tli, s.recordTLI = s.opts.TLI, s.opts.TLI
	s.searching = at == at.PageStart()
	s.sink.discard()
	s.err = s.checkOptions()
}

// ResetAfter starts anew at end, which is known to be the end of the whole
// record that starts at last: the next record must link back to it.
func (s *Scanner) ResetAfter(last, end wal.LSN) {
	s.Reset(end)
	s.lastRecord = last
	s.searching = false
	if last >= end && s.err == nil {
		s.err = fmt.Errorf("scan WAL: record at %s cannot end at %s", last, end)
	}
}

func (s *Scanner) checkOptions() error {
	start := s.opts.Start
	switch {
	case !s.opts.SegmentSize.Valid():
		return fmt.Errorf("scan WAL: invalid segment size %d", uint32(s.opts.SegmentSize))
	case s.major != 0 && PageMagic(s.major) == 0:
		return fmt.Errorf("scan WAL: PostgreSQL version %d is not supported", s.opts.PGVersion)
	case start%8 != 0:
		return fmt.Errorf("scan WAL: no record starts at %s: not a multiple of 8", start)
	case !s.searching && int(start-start.PageStart()) < s.headerSize(start.PageStart()):
		return fmt.Errorf("scan WAL: no record starts at %s: inside a page header", start)
	}
	return nil
}

// Feed checks data, which belongs at position at. The scanner keeps no
// reference to data.
//
// Errors: [ErrPosition] when at is not Position(); *[CorruptionError];
// *[EndError]. After the last two the scanner stays at the error, Position() is
// the start of the page or record that the error names, and only Rewind, Reset
// or a snapshot help. Whole records before the error are accounted for.
func (s *Scanner) Feed(at wal.LSN, data []byte) error {
	if s.err != nil {
		return s.err
	}
	if at != s.pos {
		return fmt.Errorf("%w: got %s, expected %s", ErrPosition, at, s.pos)
	}
	return s.feed(data)
}

// Position is the position of the next byte to be fed.
func (s *Scanner) Position() wal.LSN { return s.pos }

// RecordEnd is the end of the last whole record, as PostgreSQL's EndRecPtr: a
// multiple of 8, the page boundary itself for a record that fills its page, the
// next segment's start after XLOG_SWITCH. So it may lie beyond Position. Before
// the first whole record it is where the scan started.
func (s *Scanner) RecordEnd() wal.LSN { return s.recordEnd }

// RecordStart is the start of the record that is being read, or RecordEnd when
// none is.
func (s *Scanner) RecordStart() wal.LSN {
	if s.state == stateRecHead || s.state == stateRecData {
		return s.recStart
	}
	return s.recordEnd
}

// LastRecord is the start of the last whole record, 0 before the first one.
func (s *Scanner) LastRecord() wal.LSN { return s.lastRecord }

// Overwritten is the start of the record that was last found cut short by a
// crash and replaced by OVERWRITE_CONTRECORD; 0 if none was.
func (s *Scanner) Overwritten() wal.LSN { return s.overwritten }

// TLI is the timeline of the last page header, or the one of the options.
func (s *Scanner) TLI() wal.TLI { return s.tli }

// SystemID is the cluster's identifier, given or learned; 0 if not yet known.
func (s *Scanner) SystemID() wal.SystemID { return s.opts.SystemID }

// Major is PostgreSQL's major version, given or learned; 0 if not yet known.
func (s *Scanner) Major() int { return s.major }

// Err is the error at which the scanner stays, nil while all is well.
func (s *Scanner) Err() error { return s.err }

// Clone takes a snapshot: a copy of a few hundred bytes, without allocation.
// A Reader's scanner must not be cloned inside a record.
func (s *Scanner) Clone() Scanner { return *s }

// Rewind forgets an error and an unfinished record: the next byte to be fed is
// the one at RecordEnd, or the one at Position if that is lower. It is how to
// go on after an [EndError] once more WAL was written.
func (s *Scanner) Rewind() {
	if s.lastRecord == 0 {
		s.Reset(s.opts.Start)
		return
	}
	s.sink.discard()
	s.headN, s.recN = 0, 0
	s.wantOverwrite, s.overwriteNames = false, false
	s.err = nil
	s.tli = s.recordTLI
	if s.state == stateSkip {
		return
	}
	s.state = stateBetween
	s.pos = min(s.pos, s.recordEnd)
}

// headerSize is the size of the header of the page that starts at page.
func (s *Scanner) headerSize(page wal.LSN) int {
	if s.opts.SegmentSize.Offset(page) == 0 {
		return LongPageHeaderSize
	}
	return ShortPageHeaderSize
}
