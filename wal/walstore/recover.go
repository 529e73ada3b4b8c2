package walstore

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// Open recovers the timeline in dir; guarantee 3 of the package comment holds
// when it returns.
//
//  1. Read the control file; remove what unfinished work left behind.
//  2. From the watermark W on, scan record by record over the files that the
//     history names. E is the end of the last whole record. What does not scan
//     is no error: it was never acknowledged. A file that must hold bytes below
//     W and is missing or short is one.
//  3. Write every file with bytes between W and E anew, fsync it and let it take
//     the old one's place; remove files behind E; fsync the folder. Skipped
//     after an orderly Close, when nothing lies above W.
//  4. Write the histories and the control file anew (what a killed process
//     renamed need not be on disk), with the watermark E, then remove the fence
//     mark. The folder's own name is made durable for the same reason.
func Open(dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	d := disk{fs: o.FS, dir: dir, m: o.Metrics, noSync: o.NoSync}
	c, clean, err := d.readControl()
	if err != nil {
		return nil, fmt.Errorf("open timeline in %s: %w", dir, err)
	}
	s := newStore(dir, c, o)
	err = d.syncFolderAt(d.fs.PathDir(dir))
	if err == nil {
		err = s.recover(clean)
	}
	if err != nil {
		_ = s.files.closeAll() // Only readers, or files that the next Open writes anew.
		if IsDiskFull(err) {
			err = fmt.Errorf("%w: %w", ErrDiskFull, err)
		}
		return nil, fmt.Errorf("recover timeline %s: %w", c.ID, err)
	}
	invariant.Point(pointOpenDone)
	return s, nil
}

func (s *Store) recover(clean bool) error {
	fenced, err := s.d.exists(fencedName)
	if err != nil {
		return err
	}
	doubles, err := s.listFiles()
	if err != nil {
		return err
	}
	w := s.control.Watermark
	end, err := s.findEnd(w)
	if err != nil {
		return err
	}
	s.pos = Positions{Write: end, WriteRecord: end, Flush: end, FlushRecord: end}
	if !clean || fenced || end != w || len(doubles) > 0 {
		s.log.Info("WAL above the watermark is written anew", "watermark", w, "end", end, "fenced", fenced)
		if err := s.rewrite(w, end, doubles); err != nil {
			return err
		}
	}
	if err := s.d.writeHistories(s.history, true); err != nil {
		return err
	}
	s.control.Watermark = end
	if _, err := s.d.writeControl(s.control, false); err != nil {
		return err
	}
	if fenced {
		if err := s.d.removeFenceMark(); err != nil {
			return err
		}
	}
	return s.resume(end)
}

// resume opens the file that the next byte goes to.
func (s *Store) resume(end wal.LSN) error {
	if s.size.Offset(end) > 0 {
		g, ok := s.segments.find(segmentKey{no: s.size.SegmentNo(end), tli: s.continuation(s.history, end)})
		if !ok {
			return s.missing(end - 1)
		}
		if err := s.openTail(g); err != nil {
			return err
		}
	}
	s.scan, s.scanLast = s.scannerAfter(s.history, end), s.history.Last
	return nil
}

// listFiles fills the segment list and removes what is left of unfinished work.
// Where a crash left a segment under both names, their content is the same: a
// file is synced before it is renamed. The .partial one is used and the other
// returned, to be removed.
func (s *Store) listFiles() (doubles []segment, err error) {
	names, err := s.d.fs.List(s.d.dir)
	if err != nil {
		return nil, fmt.Errorf("list folder: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case name == preparedName, strings.HasSuffix(name, tmpSuffix), strings.HasSuffix(name, rewriteSuffix), strayHistory(s.history, name):
			if err := s.d.remove(name, pointSegmentRemove); err != nil {
				return nil, err
			}
			continue
		}
		g, ok := parseSegment(s.size, name)
		if !ok {
			continue // Not ours, like an operator's note.
		}
		if old, twice := s.segments.find(g.segmentKey); twice {
			doubles = append(doubles, old) // The list is sorted: .partial comes second.
		}
		s.segments = s.segments.with(g)
	}
	return doubles, nil
}

// findEnd scans from the watermark w.
func (s *Store) findEnd(w wal.LSN) (wal.LSN, error) {
	if w < s.start {
		return s.first, nil // No sync has ever covered a record.
	}
	if w > s.first {
		if err := s.checkHeld(w - 1); err != nil {
			return 0, err
		}
	}
	s.pos.Write = w // so that the record in front of w may be read
	scan := s.scannerAfter(s.history, w)
	buf := make([]byte, chunkSize)
	for at := w; ; {
		n, err := s.readStored(buf, at)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			break
		}
		if err := scan.Feed(at, buf[:n]); err != nil {
			s.log.Debug("WAL ends", "at", scan.RecordEnd(), "reason", err)
			break
		}
		at += wal.LSN(n)
	}
	return max(w, scan.RecordEnd()), nil
}

// checkHeld makes sure that the byte at l, which lies below the watermark, can
// be read.
func (s *Store) checkHeld(l wal.LSN) error {
	g, ok := s.segments.holder(s.size, s.history, l)
	if !ok {
		return s.missing(l)
	}
	info, err := s.d.fs.Stat(s.d.path(g.name(s.size)))
	if err != nil {
		return fmt.Errorf("look at segment: %w", err)
	}
	if info.Size() != int64(s.size) {
		return &CorruptionError{
			Timeline: s.id, File: g.name(s.size), Offset: info.Size(), LSN: l,
			Err: fmt.Errorf("file has %d bytes instead of %d and holds WAL that was on disk", info.Size(), uint32(s.size)),
		}
	}
	return nil
}

func (s *Store) missing(l wal.LSN) error {
	return &CorruptionError{
		Timeline: s.id, File: s.size.FileName(s.history.TLIAt(l), s.size.SegmentNo(l)), Offset: int64(s.size.Offset(l)), LSN: l,
		Err: errors.New("the file is missing and holds WAL that was on disk"),
	}
}

// readStored reads what the files hold at l, whatever it is, up to the end of
// the segment or of the TLI. It returns 0 where no file goes on.
func (s *Store) readStored(p []byte, l wal.LSN) (int, error) {
	g, ok := s.segments.holder(s.size, s.history, l)
	if !ok {
		return 0, nil
	}
	n := min(len(p), int(uint32(s.size)-s.size.Offset(l)))
	if end, _, ok := s.history.SwitchPoint(s.history.TLIAt(l)); ok {
		n = int(min(uint64(n), uint64(end-l)))
	}
	h, err := s.acquire(g)
	if err != nil {
		return 0, fmt.Errorf("open segment: %w", err)
	}
	defer s.files.release(h)
	n, err = h.ReadAt(p[:n], int64(s.size.Offset(l)))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read segment %s: %w", g.name(s.size), err)
	}
	return n, nil
}
