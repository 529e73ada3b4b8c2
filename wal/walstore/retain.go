package walstore

import (
	"fmt"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// RemoveBefore removes whole segments below lsn, oldest first, and returns how
// many files. The segment with the last durable byte always stays, so that a
// store is never mistaken for one that lost its WAL.
func (s *Store) RemoveBefore(lsn wal.LSN) (removed int, err error) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	limit, doomed, err := s.doom(lsn)
	if err != nil || len(doomed) == 0 {
		return 0, err
	}
	// Recovery begins at the watermark, so its segment must stay.
	if s.Control().Watermark < limit {
		if err := s.saveControl(nil, 0); err != nil {
			return 0, fmt.Errorf("remove WAL: %w", err)
		}
	}
	s.mu.Lock()
	s.removedBelow = max(s.removedBelow, limit)
	s.mu.Unlock()
	for _, g := range doomed {
		if err = s.d.remove(g.name(s.size), pointSegmentRemove); err != nil {
			break
		}
		s.files.forget(g.segmentKey)
		s.mu.Lock()
		s.segments = s.segments.without(g.segmentKey)
		s.mu.Unlock()
		removed++
	}
	s.d.m.removed.Add(float64(removed))
	if err != nil {
		s.mu.Lock()
		s.removedBelow = 0 // What is left can be read, and be removed later.
		s.mu.Unlock()
		return removed, fmt.Errorf("remove WAL: %w", err)
	}
	if err := s.d.syncFolder(); err != nil {
		return removed, s.failed("remove WAL", err, true)
	}
	invariant.Point(pointRemoveDone)
	return removed, nil
}

// doom says which files may go and below which segment start they lie.
func (s *Store) doom(lsn wal.LSN) (limit wal.LSN, doomed []segment, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return 0, nil, err
	}
	durable := min(s.pos.FlushRecord, s.pos.Flush)
	if durable <= s.first {
		return 0, nil, nil
	}
	limit = s.size.SegmentStart(min(lsn, durable-1))
	for _, g := range s.segments {
		if s.size.Start(g.no) >= limit {
			break
		}
		doomed = append(doomed, g)
	}
	return limit, doomed, nil
}
