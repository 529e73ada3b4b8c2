package wal

import (
	"fmt"
	"strconv"
	"strings"
)

// SegmentSize is the size of a WAL segment file in bytes (wal_segment_size).
type SegmentSize uint32

// Limits of wal_segment_size (WalSegMinSize and WalSegMaxSize in
// src/include/access/xlog_internal.h).
const (
	DefaultSegmentSize SegmentSize = 16 << 20
	MinSegmentSize     SegmentSize = 1 << 20
	MaxSegmentSize     SegmentSize = 1 << 30
)

// Valid says whether the size is a power of two within PostgreSQL's limits.
func (s SegmentSize) Valid() bool {
	return s >= MinSegmentSize && s <= MaxSegmentSize && s&(s-1) == 0
}

// String is the form that SHOW wal_segment_size prints and that pg_receivewal
// parses: whole MB or GB.
func (s SegmentSize) String() string {
	if s >= 1<<30 {
		return strconv.Itoa(int(s>>30)) + "GB"
	}
	return strconv.Itoa(int(s>>20)) + "MB"
}

// ParseSegmentSize reads what String wrote.
func ParseSegmentSize(text string) (SegmentSize, error) {
	num, ok := strings.CutSuffix(text, "MB")
	shift := 20
	if !ok {
		num, ok = strings.CutSuffix(text, "GB")
		shift = 30
	}
	v, err := strconv.ParseUint(num, 10, 16)
	if !ok || err != nil || v == 0 || v > 1024 || !SegmentSize(min(v<<shift, 1<<31)).Valid() {
		return 0, fmt.Errorf("invalid WAL segment size %q: expected a power of two from 1MB to 1GB", text)
	}
	return SegmentSize(v << shift), nil
}

// SegmentNo numbers segments from the start of the WAL: LSN / segment size.
type SegmentNo uint64

// SegmentNo returns the segment that holds the byte at l.
func (s SegmentSize) SegmentNo(l LSN) SegmentNo { return SegmentNo(uint64(l) / uint64(s)) }

// Start returns the position of the first byte of segment no.
func (s SegmentSize) Start(no SegmentNo) LSN { return LSN(uint64(no) * uint64(s)) }

// SegmentStart rounds l down to the start of its segment.
func (s SegmentSize) SegmentStart(l LSN) LSN { return l &^ LSN(s-1) }

// Offset is the distance of l from the start of its segment.
func (s SegmentSize) Offset(l LSN) uint32 { return uint32(l & LSN(s-1)) }

// perLogID is the number of segments in a span of 4 GiB (XLogSegmentsPerXLogId).
func (s SegmentSize) perLogID() uint64 { return 0x100000000 / uint64(s) }

// FileName is PostgreSQL's name of a segment (XLogFileName).
func (s SegmentSize) FileName(tli TLI, no SegmentNo) string {
	return fmt.Sprintf("%08X%08X%08X", uint32(tli), uint64(no)/s.perLogID(), uint64(no)%s.perLogID())
}

// ParseFileName reads a segment's name, without any suffix.
func (s SegmentSize) ParseFileName(name string) (TLI, SegmentNo, error) {
	if len(name) != 24 || strings.Trim(name, "0123456789ABCDEF") != "" {
		return 0, 0, fmt.Errorf("%q is not the name of a WAL segment", name)
	}
	tli, _ := strconv.ParseUint(name[:8], 16, 32)
	log, _ := strconv.ParseUint(name[8:16], 16, 32)
	seg, _ := strconv.ParseUint(name[16:], 16, 32)
	if tli == 0 || seg >= s.perLogID() {
		return 0, 0, fmt.Errorf("%q is not the name of a WAL segment of size %s", name, s)
	}
	return TLI(tli), SegmentNo(log*s.perLogID() + seg), nil
}
