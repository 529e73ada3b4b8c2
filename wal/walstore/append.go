package walstore

import (
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Append writes data, WAL of the PostgreSQL timeline tli, at the position at,
// which must be Positions().Write: ErrGap and ErrOverlap otherwise. It does not
// wait for the disk, unless a record ends that a crash of the server cut short.
// Bytes from Control.Start on are checked record by record before they are written:
// a *CorruptionError means that they were not taken. Data longer than the rest of
// the segment, or with such a record, may be taken in part when a later part fails;
// Positions says how far. data is not kept.
func (s *Store) Append(tli wal.TLI, at wal.LSN, data []byte) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if err := s.repair(); err != nil {
		return err
	}
	if err := s.admit(tli, at, len(data)); err != nil {
		return err
	}
	s.refreshScanner(at)
	for len(data) > 0 {
		n := untilOverwritten(at, data[:min(len(data), int(uint32(s.size)-s.size.Offset(at)))])
		if err := s.appendPiece(tli, at, data[:n]); err != nil {
			return err
		}
		at, data = at+wal.LSN(n), data[n:]
	}
	s.fillOpen(at)
	s.prepareAhead(at)
	invariant.Point(pointAppendDone)
	return nil
}

// admit checks that n bytes of tli may follow at the position.
func (s *Store) admit(tli wal.TLI, at wal.LSN, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	switch {
	case s.refuseAppend:
		return fmt.Errorf("append WAL: %w: a truncation must be repeated first", ErrDiskFull)
	case at > s.pos.Write:
		return fmt.Errorf("append WAL at %s, stored up to %s: %w", at, s.pos.Write, ErrGap)
	case at < s.pos.Write:
		return fmt.Errorf("append WAL at %s, stored up to %s: %w", at, s.pos.Write, ErrOverlap)
	case n == 0:
		return nil
	}
	end := at + wal.LSN(n)
	for _, h := range [...]wal.TimelineHistory{s.history, s.control.History} {
		// What only the history in force knows would be lost with a crash.
		if h.TLIAt(at) != tli || h.TLIAt(end-1) != tli {
			return fmt.Errorf("append WAL of timeline %d at %s: %w (history says %d to %d)", tli, at, ErrWrongTLI, h.TLIAt(at), h.TLIAt(end-1))
		}
	}
	return nil
}

// refreshScanner has the scanner know a history that was adopted without a
// truncation; a switch of TLI is always at the end of a record.
func (s *Store) refreshScanner(at wal.LSN) {
	s.mu.Lock()
	h := s.history
	s.mu.Unlock()
	if s.scanLast == h.Last {
		return
	}
	if at <= s.start || at == s.scan.RecordEnd() && at == s.scan.Position() {
		s.scan, s.scanLast = s.scannerAfter(h, at), h.Last
	}
}

// appendPiece appends data that ends within at's segment.
func (s *Store) appendPiece(tli wal.TLI, at wal.LSN, data []byte) error {
	if err := s.enterSegment(tli, at); err != nil {
		return err
	}
	before := s.scan.Clone()
	if err := s.check(at, data); err != nil {
		*s.scan = before
		return err
	}
	if s.scan.Overwritten() != before.Overwritten() {
		// No checksum covers what there is of the record in front: recovery could not
		// tell whether a crash took some of it and left what follows.
		if err := s.sync(); err != nil {
			*s.scan = before
			return err
		}
	}
	if err := s.d.writeAt(s.tail.h, data, int64(s.size.Offset(at)), pointSegmentWrite); err != nil {
		*s.scan = before
		s.mu.Lock()
		s.needCut = true
		s.mu.Unlock()
		return s.failed("append WAL", err, false)
	}
	if at < s.start {
		s.prefixCRC = crc32.Update(s.prefixCRC, castagnoli, data[:min(uint64(len(data)), uint64(s.start-at))])
	}
	s.d.m.append.Add(float64(len(data)))
	s.written(at + wal.LSN(len(data)))
	return nil
}

// untilOverwritten returns how many bytes of data lie in front of the first page, behind
// the position, that says that the record in front of it was cut short.
func untilOverwritten(at wal.LSN, data []byte) int {
	first := int((at + wal.BlockSize).PageStart() - at)
	for n := first; n+walrecord.ShortPageHeaderSize <= len(data); n += wal.BlockSize {
		if h, err := walrecord.ParsePageHeader(data[n:]); err == nil && h.Flags&walrecord.PageOverwritten != 0 {
			return n
		}
	}
	return len(data)
}

// check feeds the part of data that lies at or above the start to the scanner.
func (s *Store) check(at wal.LSN, data []byte) error {
	if at < s.start {
		if at+wal.LSN(len(data)) <= s.start {
			return nil
		}
		data = data[s.start-at:]
		at = s.start
	}
	if err := s.scan.Feed(at, data); err != nil {
		return &CorruptionError{Timeline: s.id, LSN: s.scan.Position(), Err: err}
	}
	return nil
}

// written publishes that the open segment has bytes up to end.
func (s *Store) written(end wal.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pos.Write = end
	s.pos.WriteRecord = s.recordEnd(end)
	s.markDirty(s.tail)
	if s.size.Offset(end) == 0 {
		s.tail.full, s.tail.retired = true, true
		s.tail = nil
	}
}

// recordEnd is the end of the last whole record in WAL that ends at write.
func (s *Store) recordEnd(write wal.LSN) wal.LSN {
	if write < s.start {
		return s.first
	}
	return s.scan.RecordEnd()
}

// enterSegment sees to it that s.tail is the file that the byte at the position
// belongs to. It does not wait for the disk, unless two segments are unsynced.
func (s *Store) enterSegment(tli wal.TLI, at wal.LSN) error {
	k := segmentKey{no: s.size.SegmentNo(at), tli: tli}
	if s.tail != nil && s.tail.segmentKey == k {
		return nil
	}
	s.mu.Lock()
	crowded := len(s.dirty) >= 2
	s.mu.Unlock()
	if crowded {
		if err := s.sync(); err != nil {
			return err
		}
	}
	return s.beginSegment(k, at)
}

// beginSegment makes the file of k the open one. If at lies inside it, a switch
// of TLI, it begins with a copy of what the segment holds up to there, and the
// old TLI's file stays as it is.
func (s *Store) beginSegment(k segmentKey, at wal.LSN) error {
	f, sparse, err := s.prep.take(&s.d, s.size)
	if err != nil {
		return s.failed("begin segment", err, false)
	}
	if upto := int64(s.size.Offset(at)); upto > 0 {
		if err := s.d.copy(f, s.tail.h, upto); err != nil {
			_ = f.Close() // It is removed when the next one is made.
			return s.failed("begin segment", err, false)
		}
	}
	g := segment{segmentKey: k, partial: true}
	if err := s.d.rename(preparedName, g.name(s.size), pointSegmentOpen); err != nil {
		if s.size.Offset(at) == 0 {
			s.prep.giveBack(f, sparse)
		} else {
			_ = f.Close()
		}
		return s.failed("begin segment", err, false)
	}
	h := s.files.add(k, f, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments = s.segments.with(g)
	s.namesDirty = true
	if old := s.tail; old != nil {
		old.retired = true
		s.markDirty(old)
	}
	s.tail = &openSegment{segmentKey: k, h: h, begun: time.Now(), sparse: sparse}
	s.markDirty(s.tail)
	return nil
}

// copy copies the first n bytes.
func (d *disk) copy(to vfs.File, from io.ReaderAt, n int64) error {
	buf := make([]byte, min(n, chunkSize))
	for off := int64(0); off < n; {
		part := buf[:min(int64(len(buf)), n-off)]
		if m, err := from.ReadAt(part, off); m < len(part) {
			return fmt.Errorf("copy segment: %w", err)
		}
		if err := d.writeAt(to, part, off, pointSegmentCopy); err != nil {
			return fmt.Errorf("copy segment: %w", err)
		}
		off += int64(len(part))
	}
	return nil
}

// newScanner returns a scanner for the history h that begins at the position.
func (s *Store) newScanner(h wal.TimelineHistory, at wal.LSN) *walrecord.Scanner {
	s.mu.Lock()
	version, id := s.control.PGVersion, s.control.SystemID
	s.mu.Unlock()
	return walrecord.NewScanner(walrecord.ScannerOptions{
		Start: at, SegmentSize: s.size, PGVersion: version, SystemID: id,
		TLI: h.TLIAt(at), MaxTLI: h.Last,
	})
}
