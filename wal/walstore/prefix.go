package walstore

import (
	"encoding/binary"
	"fmt"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Flags of a page header (src/include/access/xlog_internal.h).
const (
	firstIsContRecord = 0x0001
	longHeader        = 0x0002
)

// SynthesizePrefix fills the bytes from the first segment's start to
// Control.Start with page headers and a made-up continuation record, for peers
// that cannot send the true bytes. It is what PostgreSQL's tools need to read
// the segment from its start. It does nothing when the bytes are there, and is
// as durable as Append.
func (s *Store) SynthesizePrefix() error {
	c, write := s.Control(), s.Positions().Write
	if write >= s.start {
		return nil
	}
	if write != s.first {
		return fmt.Errorf("synthesise prefix: true bytes up to %s are there: %w", write, ErrOverlap)
	}
	prefix, err := synthesize(c)
	if err != nil {
		return fmt.Errorf("synthesise prefix: %w", err)
	}
	for at := s.first; at < s.start; {
		tli, end := c.History.TLIAt(at), s.start
		if stop, _, ok := c.History.SwitchPoint(tli); ok {
			end = min(end, stop)
		}
		if err := s.Append(tli, at, prefix[at-s.first:end-s.first]); err != nil {
			return fmt.Errorf("synthesise prefix: %w", err)
		}
		at = end
	}
	return nil
}

func synthesize(c Control) ([]byte, error) {
	magic := walrecord.PageMagic(walrecord.Major(c.PGVersion))
	if magic == 0 {
		return nil, fmt.Errorf("PostgreSQL version %d is not supported", c.PGVersion)
	}
	first := c.SegmentSize.SegmentStart(c.Start)
	b := make([]byte, c.Start-first)
	rest := len(b) // bytes of the made-up record: all that are no header
	for page := 0; page < len(b); page += wal.BlockSize {
		rest -= pageHeader(page)
	}
	if rest < 0 {
		return nil, fmt.Errorf("start %s lies inside a page header", c.Start)
	}
	le := binary.LittleEndian
	for page := 0; page < len(b); page += wal.BlockSize {
		at := first + wal.LSN(page)
		p := b[page:]
		var info uint16
		if page == 0 {
			info |= longHeader
			le.PutUint64(p[24:], uint64(c.SystemID))
			le.PutUint32(p[32:], uint32(c.SegmentSize))
			le.PutUint32(p[36:], wal.BlockSize)
		}
		if rest > 0 {
			info |= firstIsContRecord
		}
		le.PutUint16(p[0:], magic)
		le.PutUint16(p[2:], info)
		le.PutUint32(p[4:], uint32(c.History.TLIAt(at)))
		le.PutUint64(p[8:], uint64(at))
		le.PutUint32(p[16:], uint32(max(rest, 0)))
		rest -= wal.BlockSize - pageHeader(page)
	}
	return b, nil
}

// pageHeader is the size of the header of the page at this offset of a segment.
func pageHeader(offset int) int {
	if offset == 0 {
		return walrecord.LongPageHeaderSize
	}
	return walrecord.ShortPageHeaderSize
}
