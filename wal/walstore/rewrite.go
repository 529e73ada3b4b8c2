package walstore

import (
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/wal"
)

// rewrite makes the files say exactly what was scanned: fresh ones for all that
// hold bytes above the watermark w, none behind end.
func (s *Store) rewrite(w, end wal.LSN, doubles []segment) error {
	if err := s.removeStray(end, doubles); err != nil {
		return err
	}
	for _, g := range s.segments {
		stop := s.size.Start(g.no) + wal.LSN(s.size)
		if stop <= w {
			continue
		}
		if err := s.rewriteSegment(g, end); err != nil {
			return err
		}
	}
	if err := s.addSwitched(end); err != nil {
		return err
	}
	if err := s.finishNames(end); err != nil {
		return err
	}
	return s.d.syncFolder()
}

// removeStray removes files that the history does not name below end, second
// names, and what lies below a gap in the files (a removal that a crash undid
// in part). Newest first: what a crash leaves then still ends somewhere.
func (s *Store) removeStray(end wal.LSN, doubles []segment) error {
	stray := slices.Clone(doubles)
	for _, g := range s.segments {
		if !onPath(s.size, s.history, g.segmentKey, end) {
			stray = append(stray, g)
			s.segments = s.segments.without(g.segmentKey)
		}
	}
	for i := len(s.segments) - 1; i > 0; i-- {
		if s.segments[i].no-s.segments[i-1].no > 1 {
			stray = append(stray, s.segments[:i]...)
			s.segments = s.segments[i:]
			break
		}
	}
	slices.SortFunc(stray, func(a, b segment) int { return b.compare(a.segmentKey) })
	for _, g := range stray {
		s.log.Info("removing file that holds no acknowledged WAL", "file", g.name(s.size))
		if err := s.d.remove(g.name(s.size), pointSegmentRemove); err != nil {
			return err
		}
		s.files.forget(g.segmentKey)
	}
	return nil
}

// rewriteSegment puts a fresh copy of g's bytes below end in its place, zero
// behind them.
func (s *Store) rewriteSegment(g segment, end wal.LSN) error {
	start := s.size.Start(g.no)
	end = min(end, start+wal.LSN(s.size))
	if stop, _, ok := s.history.SwitchPoint(g.tli); ok {
		end = min(end, stop)
	}
	tmp := rewriteName(s.size, g.segmentKey)
	fresh, err := s.d.newSegmentFile(tmp, s.size, nil)
	if err != nil {
		return err
	}
	defer fresh.Close()
	if err := s.copyStored(fresh, start, end); err != nil {
		return fmt.Errorf("rewrite segment %s: %w", g.name(s.size), err)
	}
	if err := s.d.syncAll(fresh, pointSegmentSync); err != nil {
		return fmt.Errorf("rewrite segment %s: %w", g.name(s.size), err)
	}
	if err := s.d.rename(tmp, g.name(s.size), pointSegmentSwap); err != nil {
		return err
	}
	s.files.forget(g.segmentKey)
	s.d.m.rewritten.Add(float64(end - start))
	return nil
}

// copyStored copies the stored WAL [from, to), which lies in one segment, to
// its place in f.
func (s *Store) copyStored(f vfs.File, from, to wal.LSN) error {
	buf := make([]byte, chunkSize)
	for from < to {
		n, err := s.readStored(buf[:min(uint64(len(buf)), uint64(to-from))], from)
		if err != nil {
			return err
		}
		if n == 0 {
			return s.missing(from)
		}
		if err := s.d.writeAt(f, buf[:n], int64(s.size.Offset(from)), pointSegmentCopy); err != nil {
			return err
		}
		from += wal.LSN(n)
	}
	return nil
}

// addSwitched makes the file of the TLI that goes on at end inside a segment,
// if a crash came between the truncation and it, so that end's file is always
// the one of the history.
func (s *Store) addSwitched(end wal.LSN) error {
	k := segmentKey{no: s.size.SegmentNo(end), tli: s.history.TLIAt(end)}
	if s.size.Offset(end) == 0 || end <= s.first {
		return nil
	}
	if _, ok := s.segments.find(k); ok {
		return nil
	}
	g := segment{segmentKey: k, partial: true}
	if err := s.rewriteSegment(g, end); err != nil {
		return err
	}
	s.segments = s.segments.with(g)
	return nil
}

// finishNames gives each file the name that its content deserves.
func (s *Store) finishNames(end wal.LSN) error {
	for _, g := range s.segments {
		stop := s.size.Start(g.no) + wal.LSN(s.size)
		full := end >= stop
		if at, _, ok := s.history.SwitchPoint(g.tli); ok && at < stop {
			full = false // The rest of the segment belongs to the next TLI.
		}
		if g.partial == !full {
			continue
		}
		named, point := segment{segmentKey: g.segmentKey, partial: !full}, pointSegmentSeal
		if !full {
			point = pointSegmentUnseal
		}
		if err := s.d.rename(g.name(s.size), named.name(s.size), point); err != nil {
			return err
		}
		s.files.forget(g.segmentKey)
		s.segments = s.segments.with(named)
	}
	return nil
}
