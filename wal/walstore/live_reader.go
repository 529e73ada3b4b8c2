package walstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/walhaven/walhaven/wal"
)

// view is what a read needs to know, taken at one moment.
type view struct {
	segments     segmentList
	history      wal.TimelineHistory
	end          wal.LSN // first byte that cannot be read
	oldest       wal.LSN
	removedBelow wal.LSN
	epoch        uint64
	closed       bool
}

func (s *Store) view() view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return view{
		segments: s.segments, history: s.history, end: s.pos.readable(), oldest: s.oldest(),
		removedBelow: s.removedBelow, epoch: s.epoch, closed: s.closed,
	}
}

// oldest is Oldest; s.mu must be held.
func (s *Store) oldest() wal.LSN {
	if len(s.segments) == 0 {
		return s.pos.Write
	}
	return max(s.size.Start(s.segments[0].no), s.removedBelow)
}

// Oldest is the first position that ReadAt can read.
func (s *Store) Oldest() wal.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.oldest()
}

// readable is the end of what can be read. Behind XLOG_SWITCH the padding is part
// of the record, and so of what is flushed and committed, before it arrives: it
// is zeros, as the file holds there already.
func (p Positions) readable() wal.LSN { return max(p.Write, p.WriteRecord) }

// ReadAt reads WAL from at on into p, up to len(p) bytes and not beyond the end
// of what was written, and returns how many. At the end it returns 0 and io.EOF;
// below Oldest ErrRemoved, above the end ErrGap. Fewer bytes than len(p) mean
// that the WAL ended there at that moment. It runs beside Append, Truncate and
// RemoveBefore and never returns bytes that were cut off before it returned.
func (s *Store) ReadAt(p []byte, at wal.LSN) (int, error) {
	for {
		v := s.view()
		n, err := s.readView(v, p, at)
		now := s.view()
		if now.epoch == v.epoch && !(errors.Is(err, fs.ErrNotExist) && moved(v, now)) {
			if errors.Is(err, fs.ErrNotExist) {
				err = &CorruptionError{Timeline: s.id, LSN: at, Err: err}
			}
			return n, err
		}
		// A truncation or a rename came in between: read what is there now.
	}
}

// moved says whether the files changed between two views.
func moved(a, b view) bool {
	if a.removedBelow != b.removedBelow || len(a.segments) != len(b.segments) {
		return true
	}
	for i := range a.segments {
		if a.segments[i] != b.segments[i] {
			return true
		}
	}
	return false
}

func (s *Store) readView(v view, p []byte, at wal.LSN) (int, error) {
	switch {
	case v.closed:
		return 0, ErrClosed
	case at > v.end:
		return 0, fmt.Errorf("read WAL at %s, stored up to %s: %w", at, v.end, ErrGap)
	case at < v.oldest:
		return 0, fmt.Errorf("read WAL at %s, stored from %s: %w", at, v.oldest, ErrRemoved)
	case at == v.end && len(p) > 0:
		return 0, io.EOF
	}
	p = p[:min(uint64(len(p)), uint64(v.end-at))]
	done := 0
	for done < len(p) {
		l := at + wal.LSN(done)
		n := min(len(p)-done, int(uint32(s.size)-s.size.Offset(l)))
		if end, _, ok := v.history.SwitchPoint(v.history.TLIAt(l)); ok {
			n = min(n, int(min(uint64(end-l), uint64(s.size))))
		}
		if err := s.readSegment(v, p[done:done+n], l); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// readSegment fills p, which lies in one segment and one TLI.
func (s *Store) readSegment(v view, p []byte, at wal.LSN) error {
	g, ok := v.segments.holder(s.size, v.history, at)
	if !ok {
		return &CorruptionError{Timeline: s.id, LSN: at, File: s.size.FileName(v.history.TLIAt(at), s.size.SegmentNo(at)), Err: errors.New("segment is missing")}
	}
	h, err := s.acquire(g)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	defer s.files.release(h)
	if err := readSegmentAt(h, s.size, p, at); err != nil {
		return &CorruptionError{Timeline: s.id, File: g.name(s.size), Offset: int64(s.size.Offset(at)), LSN: at, Err: err}
	}
	return nil
}

// acquire returns an open handle of g that the caller releases.
func (s *Store) acquire(g segment) (*handle, error) {
	if h := s.files.get(g.segmentKey); h != nil {
		return h, nil
	}
	f, err := s.d.fs.Open(s.d.path(g.name(s.size)))
	if err != nil {
		return nil, err
	}
	return s.files.add(g.segmentKey, f, true), nil
}
