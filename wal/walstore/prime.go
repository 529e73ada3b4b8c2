package walstore

import (
	"errors"
	"fmt"
	"io"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// primeLength is how far back a scanner begins so that it knows the record in
// front of a position: long enough for most records, short enough to be cheap.
const primeLength = 64 << 10

// prime returns a scanner that was fed stored WAL up to at, from a page start at
// most back bytes before. ok is false if it found no record to lean on.
func (s *Store) prime(h wal.TimelineHistory, at wal.LSN, back uint32) (scan *walrecord.Scanner, ok bool) {
	from := s.start
	if at > s.start+wal.LSN(back) {
		from = max(s.start, (at - wal.LSN(back)).PageStart())
	}
	v := s.view()
	from = max(from, v.oldest)
	scan = s.newScanner(h, from)
	if from >= at {
		return scan, false
	}
	v.end, v.history = max(v.end, at), h
	if err := s.feed(scan, v, from, at); err != nil {
		return scan, false
	}
	return scan, scan.LastRecord() != 0 || from == s.start
}

// checkRecordEnd refuses a position of which stored WAL shows that it lies inside
// a record. One that follows a record longer than a segment is believed: the
// next append will tell.
func (s *Store) checkRecordEnd(h wal.TimelineHistory, at wal.LSN) error {
	for _, back := range [...]uint32{primeLength, uint32(s.size)} {
		if scan, ok := s.prime(h, at, back); ok {
			if scan.RecordEnd() != at {
				return fmt.Errorf("%w: the last record in front of it ends at %s", ErrNotRecordEnd, scan.RecordEnd())
			}
			return nil
		}
	}
	return nil
}

// scannerAfter returns a scanner for WAL that goes on at the record end at. It
// knows the record in front if one can be found, and so refuses WAL of another
// history at once.
func (s *Store) scannerAfter(h wal.TimelineHistory, at wal.LSN) *walrecord.Scanner {
	if at <= s.start {
		return s.newScanner(h, s.start)
	}
	scan, ok := s.prime(h, at, primeLength)
	if ok && scan.RecordEnd() == at && scan.Position() == at {
		return scan
	}
	return s.newScanner(h, at)
}

// feed feeds stored WAL [from, to) to scan. A *readError is the disk's fault,
// any other the scanner's verdict.
func (s *Store) feed(scan *walrecord.Scanner, v view, from, to wal.LSN) error {
	buf := make([]byte, min(uint64(to-from), chunkSize))
	for from < to {
		n, err := s.readView(v, buf[:min(uint64(len(buf)), uint64(to-from))], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return &readError{err}
		}
		if n == 0 {
			return &readError{fmt.Errorf("WAL ends at %s: %w", from, io.ErrUnexpectedEOF)}
		}
		if err := scan.Feed(from, buf[:n]); err != nil {
			return err
		}
		from += wal.LSN(n)
	}
	return nil
}

// readError keeps failures to read apart from what was read.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }
