package walstore

import (
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// OldestRecord is the position of the first record that begins behind Oldest, which is
// where a node can begin that takes this WAL over: Control.Start, or, when WAL was
// removed, what follows the rest of the record that the oldest segment begins with. It
// is 0 when that record has not ended, or when its pages cannot be read.
func (s *Store) OldestRecord() wal.LSN {
	oldest := s.Oldest()
	if oldest <= s.first {
		return s.start
	}
	s.mu.Lock()
	known, epoch := s.firstRecord, s.epoch
	s.mu.Unlock()
	if known.oldest == oldest && known.epoch == epoch {
		return known.record
	}
	at := s.recordBehind(oldest)
	if at != 0 {
		s.mu.Lock()
		s.firstRecord = firstRecord{oldest, at, epoch}
		s.mu.Unlock()
	}
	return at
}

// firstRecord is what OldestRecord has found for a beginning, in WAL that was not cut
// since.
type firstRecord struct {
	oldest, record wal.LSN
	epoch          uint64
}

// recordBehind reads page headers from page on until one says that a record begins on
// its page.
func (s *Store) recordBehind(page wal.LSN) wal.LSN {
	buf := make([]byte, walrecord.LongPageHeaderSize)
	for ; ; page += wal.BlockSize {
		n, err := s.ReadAt(buf, page)
		if err != nil {
			return 0
		}
		h, err := walrecord.ParsePageHeader(buf[:n])
		if err != nil || h.PageStart != page {
			return 0
		}
		begin := page + wal.LSN(h.Size())
		if h.Flags&walrecord.PageContinued == 0 {
			return begin
		}
		if end := (begin + wal.LSN(h.Remaining)).Align8(); end < page+wal.BlockSize {
			return end
		}
	}
}
