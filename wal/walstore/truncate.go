package walstore

import (
	"errors"
	"fmt"
	"slices"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// Truncate makes to the end of the WAL, under the history h from now on, and
// returns when that is on disk. to must be a record end (or the first segment's
// start, which empties the store) at or below WriteRecord; h must agree with the
// history in force on everything below to: ErrHistory otherwise. The caller
// persists h with SaveControl afterwards and before it appends; until then a
// crash brings back the old history with the WAL already cut.
//
// Order on disk: watermark lowered, file cut and zeroed to its end, later files
// removed, folder synced; at a switch of TLI then the new TLI's file, with a copy
// of what lies in front of the switch, and the folder again.
func (s *Store) Truncate(to wal.LSN, h wal.TimelineHistory) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if err := s.repair(); err != nil {
		return err
	}
	// Whatever stays is on disk before anything goes.
	if err := s.sync(); err != nil {
		return err
	}
	nothing, err := s.checkCut(to, h)
	if err != nil {
		return fmt.Errorf("truncate WAL to %s: %w", to, err)
	}
	if !nothing {
		if err := s.cutTo(to, h); err != nil {
			return s.failed("truncate WAL", err, false)
		}
	}
	if err := s.switchTLI(to, h); err != nil {
		return err
	}
	s.mu.Lock()
	s.history = h
	s.mu.Unlock()
	s.scan, s.scanLast = s.scannerAfter(h, to), h.Last
	if to == s.first {
		s.prefixCRC = 0
	}
	invariant.Point(pointTruncateDone)
	return nil
}

// checkCut says whether the cut is allowed and whether there is nothing to do.
func (s *Store) checkCut(to wal.LSN, h wal.TimelineHistory) (nothing bool, err error) {
	if !h.Valid() {
		return false, errors.New("invalid timeline history")
	}
	s.mu.Lock()
	pos, oldest, cut, inForce := s.pos, s.oldest(), s.needCut, s.history
	s.mu.Unlock()
	switch {
	case to > max(pos.Write, pos.WriteRecord):
		return false, fmt.Errorf("stored up to %s: %w", pos.Write, ErrGap)
	case to < oldest || to > s.first && to < s.start || to < s.first:
		return false, fmt.Errorf("stored from %s, first record at %s: %w", oldest, s.start, ErrRemoved)
	case to > s.first && !agree(inForce, h, to):
		return false, ErrHistory
	case to != to.Align8():
		return false, ErrNotRecordEnd
	}
	if to == pos.Write && (to == s.first || to == pos.WriteRecord) {
		return !cut, nil
	}
	if to > s.start && to <= pos.Write && to != pos.WriteRecord {
		return false, s.checkRecordEnd(h, to)
	}
	return false, nil
}

// cutTo does the cut on disk. All bytes are synced.
func (s *Store) cutTo(to wal.LSN, h wal.TimelineHistory) error {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	s.mu.Lock()
	s.takeToken()
	s.epoch++
	padding := wal.Range{Start: min(s.pos.Write, to), End: to}
	s.needCut, s.refuseAppend = true, true // until the cut is complete
	s.pos.Write, s.pos.WriteRecord = min(s.pos.Write, to), to
	s.pos.Flush, s.pos.FlushRecord = min(s.pos.Flush, to), min(s.pos.FlushRecord, to)
	files := s.segments
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.giveToken()
		s.mu.Unlock()
	}()
	if err := s.lowerWatermark(); err != nil {
		return err
	}
	if err := s.fillPadding(padding); err != nil {
		return err
	}
	s.leaveTail()
	if err := s.cutFiles(files, to, h); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needCut, s.refuseAppend, s.namesDirty = false, false, false
	s.pos = Positions{Write: to, WriteRecord: to, Flush: to, FlushRecord: to}
	return nil
}

// lowerWatermark makes sure that the control file claims nothing above the flush
// position, which has been lowered. Where a save that was on its way has failed,
// nobody knows what the file claims, and nothing may be cut.
func (s *Store) lowerWatermark() error {
	s.cmu.Lock() // A save that is on its way may still carry the old position.
	s.mu.Lock()
	lower, err := s.control.Watermark > s.pos.FlushRecord, s.usable()
	s.mu.Unlock()
	s.cmu.Unlock()
	if err != nil || !lower {
		return err
	}
	return s.saveControl(nil, 0)
}

// fillPadding makes sure that what follows an XLOG_SWITCH is zero when the cut
// is at the segment's end and the padding has not arrived.
func (s *Store) fillPadding(r wal.Range) error {
	if r.Len() == 0 || s.tail == nil {
		return nil
	}
	if err := s.d.zero(s.tail.h, int64(s.size.Offset(r.Start)), int64(s.size), nil); err != nil {
		return fmt.Errorf("fill segment: %w", err)
	}
	if err := s.d.syncData(s.tail.h, pointSegmentSync); err != nil {
		return s.failed("fill segment", err, true)
	}
	return nil
}

// leaveTail gives up the open file; its bytes are synced.
func (s *Store) leaveTail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tail == nil {
		return
	}
	s.dirty = slices.DeleteFunc(s.dirty, func(f *openSegment) bool { return f == s.tail })
	s.files.release(s.tail.h)
	s.tail = nil
}

// cutFiles zeroes from to on, removes what lies behind, and opens the file that
// goes on at to, if it exists.
func (s *Store) cutFiles(files segmentList, to wal.LSN, h wal.TimelineHistory) error {
	no, inside := s.size.SegmentNo(to), s.size.Offset(to) > 0
	var doomed []segment
	for _, g := range files {
		switch {
		case g.no > no, g.no == no && !onPath(s.size, h, g.segmentKey, to+1), g.no == no && !inside:
			doomed = append(doomed, g)
		case g.no == no:
			if err := s.cutFile(g, to); err != nil {
				return err
			}
		}
	}
	for _, g := range slices.Backward(doomed) {
		if err := s.removeSegment(g); err != nil {
			return err
		}
	}
	if err := s.completeBefore(to, h); err != nil {
		return err
	}
	if err := s.d.syncFolder(); err != nil {
		return s.fenceWith(err)
	}
	s.mu.Lock()
	g, ok := s.segments.find(segmentKey{no: no, tli: s.continuation(h, to)})
	s.mu.Unlock()
	if !inside || !ok {
		return nil
	}
	return s.openTail(g)
}

// cutFile zeroes g from to on and makes it an open segment again.
func (s *Store) cutFile(g segment, to wal.LSN) error {
	f, err := s.openForWrite(g)
	if err != nil {
		return err
	}
	defer s.files.release(f)
	if err := s.d.zero(f, int64(s.size.Offset(to)), int64(s.size), nil); err != nil {
		return fmt.Errorf("cut segment: %w", err)
	}
	if err := s.d.syncData(f, pointSegmentSync); err != nil {
		return s.failed("cut segment", err, true)
	}
	if g.partial {
		return nil
	}
	open := segment{segmentKey: g.segmentKey, partial: true}
	if err := s.d.rename(g.name(s.size), open.name(s.size), pointSegmentUnseal); err != nil {
		return err
	}
	s.mu.Lock()
	s.segments = s.segments.with(open)
	s.mu.Unlock()
	return nil
}

func (s *Store) removeSegment(g segment) error {
	if err := s.d.remove(g.name(s.size), pointSegmentRemove); err != nil {
		return err
	}
	s.files.forget(g.segmentKey)
	s.mu.Lock()
	s.segments = s.segments.without(g.segmentKey)
	s.mu.Unlock()
	return nil
}

// completeBefore gives the segment that ends at to its final name: after an
// XLOG_SWITCH the padding may never arrive, and the file has zeroes already.
func (s *Store) completeBefore(to wal.LSN, h wal.TimelineHistory) error {
	if s.size.Offset(to) > 0 || to <= s.first {
		return nil
	}
	s.mu.Lock()
	g, ok := s.segments.find(segmentKey{no: s.size.SegmentNo(to - 1), tli: h.TLIAt(to - 1)})
	s.mu.Unlock()
	if !ok || !g.partial {
		return nil
	}
	return s.seal(g.segmentKey)
}

// continuation is the TLI of the existing file that ends at to: that of the
// byte in front of it, or of the byte at to if its file is there already.
func (s *Store) continuation(h wal.TimelineHistory, to wal.LSN) wal.TLI {
	if _, ok := s.segments.find(segmentKey{no: s.size.SegmentNo(to), tli: h.TLIAt(to)}); ok || to == 0 {
		return h.TLIAt(to)
	}
	return h.TLIAt(to - 1)
}

// switchTLI begins the new TLI's file when to lies inside a segment and the
// bytes from there on belong to another TLI than those in front.
func (s *Store) switchTLI(to wal.LSN, h wal.TimelineHistory) error {
	k := segmentKey{no: s.size.SegmentNo(to), tli: h.TLIAt(to)}
	if s.size.Offset(to) == 0 || s.tail == nil || s.tail.segmentKey == k {
		return nil
	}
	if err := s.beginSegment(k, to); err != nil {
		return err
	}
	return s.sync()
}

// openTail makes g the open file.
func (s *Store) openTail(g segment) error {
	h, err := s.openForWrite(g)
	if err != nil {
		return err
	}
	s.tail = &openSegment{segmentKey: g.segmentKey, h: h}
	return nil
}

// openForWrite returns a handle of g that can be written, to be released.
// Readers use it from then on.
func (s *Store) openForWrite(g segment) (*handle, error) {
	f, err := s.d.fs.OpenReadWrite(s.d.path(g.name(s.size)), writeCategory)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	return s.files.add(g.segmentKey, f, false), nil
}
