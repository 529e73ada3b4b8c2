package walstore

import (
	"time"

	"github.com/walhaven/walhaven/wal"
)

// Where much WAL comes, half of what a disk writes would be zeroes that are overwritten
// a moment later. Then the next segment's are left to the file system, which notes of
// each block whether it was written. Each sync has to make such notes durable, which is
// nothing beside a bulk load's megabytes and much beside a commit's hundred bytes: once
// WAL comes slowly again the zeroes are written after all, those of the prepared
// file in the background, those of the open one bit by bit, by whoever appends.

// calmAfter times AllocateWithin is how long a segment must have been open for WAL not
// to come fast any more: an eighth of one filled in AllocateWithin then.
const calmAfter = 32

// hurries says whether WAL comes fast, when an eighth of the open segment has come.
func (s *Store) hurries() bool {
	return s.tail != nil && time.Since(s.tail.begun) < s.allocateWithin
}

// calm says whether it certainly does not any more.
func (s *Store) calm() bool {
	return s.tail != nil && time.Since(s.tail.begun) >= s.calmAfter
}

// fillOpen writes the next zeroes of the open segment, behind all WAL, if they were
// only allocated. wmu is held, so that no WAL is written there meanwhile. They need not
// be durable: they are what there is.
func (s *Store) fillOpen(write wal.LSN) {
	t := s.tail
	if t == nil || !t.sparse || !s.calm() {
		return
	}
	page := int64(s.size.Offset(write)) + int64(wal.BlockSize) - 1
	from := max(t.zeroed, page-page%int64(wal.BlockSize))
	t.zeroed = min(from+chunkSize, int64(s.size))
	err := s.d.zero(t.h, from, t.zeroed, nil)
	t.sparse = err == nil && t.zeroed < int64(s.size)
	if err != nil {
		s.log.Warn("the open segment's zeroes stay allocated", "err", err)
	}
}
