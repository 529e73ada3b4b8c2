package walstore

import (
	"fmt"
	"hash/crc32"

	"github.com/walhaven/walhaven/wal"
)

// After a sync that ran out of space the page cache may hold bytes that the
// kernel will not try to write again. Before the next sync may succeed, they
// are read back, checked and written into fresh files, as recovery does.

func (s *Store) repairIfNeeded() error {
	s.mu.Lock()
	needed := s.needRepair
	s.mu.Unlock()
	if !needed {
		return nil
	}
	s.wmu.Lock()
	defer s.wmu.Unlock()
	return s.repair()
}

// repair rewrites what the last sync could not bring to disk, if so. It returns
// ErrDiskFull while there is no space. The caller holds wmu.
func (s *Store) repair() error {
	s.mu.Lock()
	if !s.needRepair {
		defer s.mu.Unlock()
		return s.usable()
	}
	s.takeToken()
	pos, dirty := s.pos, append([]*openSegment(nil), s.dirty...)
	s.mu.Unlock()
	err := s.rewriteDirty(pos, dirty)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needRepair = err != nil
	s.giveToken()
	return err
}

func (s *Store) rewriteDirty(pos Positions, dirty []*openSegment) error {
	for _, f := range dirty {
		limit := s.size.Start(f.no) + wal.LSN(s.size)
		if !f.retired {
			limit = min(limit, pos.Write)
		}
		s.mu.Lock()
		g, _ := s.segments.find(f.segmentKey)
		s.mu.Unlock()
		h, err := s.rewriteOpen(g, f, limit)
		if err != nil {
			return s.failed("rewrite unsynced WAL", err, false)
		}
		s.files.release(f.h)
		f.h, f.sparse = h, false // It was written in full.
	}
	if err := s.d.syncFolder(); err != nil {
		return s.failed("rewrite unsynced WAL", err, true)
	}
	return s.verifyUnsynced(pos)
}

// rewriteOpen copies f's bytes below limit into a fresh synced file that takes
// its place, and returns its handle.
func (s *Store) rewriteOpen(g segment, f *openSegment, limit wal.LSN) (*handle, error) {
	fresh, err := s.d.newSegmentFile(rewriteName(s.size, g.segmentKey), s.size, nil)
	if err != nil {
		return nil, err
	}
	if err = s.d.copy(fresh, f.h, int64(limit-s.size.Start(g.no))); err == nil {
		err = s.d.syncAll(fresh, pointSegmentSync)
	}
	if err == nil {
		err = s.d.rename(rewriteName(s.size, g.segmentKey), g.name(s.size), pointSegmentSwap)
	}
	if err != nil {
		_ = fresh.Close()
		_ = s.d.fs.Remove(s.d.path(rewriteName(s.size, g.segmentKey)))
		return nil, err
	}
	return s.files.add(g.segmentKey, fresh, false), nil
}

// verifyUnsynced reads what was rewritten and goes on with a scanner that saw
// these bytes, so that a damaged part of a record shows when it is complete.
func (s *Store) verifyUnsynced(pos Positions) error {
	v := s.view()
	if pos.Flush < s.start {
		if err := s.verifyPrefix(v, min(pos.Write, s.start)); err != nil {
			return s.fenceWith(fmt.Errorf("read unsynced WAL back: %w", err))
		}
	}
	from := max(pos.FlushRecord, s.start)
	if from >= pos.Write {
		return nil
	}
	scan := s.scannerAfter(v.history, from)
	if err := s.feed(scan, v, from, pos.Write); err != nil {
		return s.fenceWith(fmt.Errorf("read unsynced WAL back: %w", err))
	}
	if scan.RecordEnd() != pos.WriteRecord {
		return s.fenceWith(fmt.Errorf("unsynced WAL read back ends at %s instead of %s", scan.RecordEnd(), pos.WriteRecord))
	}
	s.scan, s.scanLast = scan, v.history.Last
	return nil
}

// verifyPrefix compares the stored bytes in front of the start with what was
// appended; records prove themselves, these do not.
func (s *Store) verifyPrefix(v view, end wal.LSN) error {
	buf, sum := make([]byte, chunkSize), uint32(0)
	for at := s.first; at < end; {
		n, err := s.readView(v, buf[:min(uint64(len(buf)), uint64(end-at))], at)
		if err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, buf[:n])
		at += wal.LSN(n)
	}
	if sum != s.prefixCRC {
		return fmt.Errorf("the bytes up to %s have checksum %08X instead of %08X", end, sum, s.prefixCRC)
	}
	return nil
}

func rewriteName(size wal.SegmentSize, k segmentKey) string {
	return size.FileName(k.tli, k.no) + rewriteSuffix
}
