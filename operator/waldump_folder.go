package operator

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// WALFolder reads the segments of a folder, such as pg_wal, an archive, or a
// timeline of a safekeeper. Files may appear and grow meanwhile. It is not safe
// for concurrent use.
type WALFolder struct {
	dir      string
	only     string  // the one file to read, if a file was named
	tli      wal.TLI // 0 = the newest
	size     wal.SegmentSize
	segments []folderSegment // in rising order, one file a segment

	open   *os.File // the segment read last
	openNo wal.SegmentNo
}

type folderSegment struct {
	tli     wal.TLI
	no      wal.SegmentNo
	name    string
	partial bool
}

// partialSuffix marks a segment that is not complete, or the last one of a
// timeline that another followed.
const partialSuffix = ".partial"

// OpenWALFolder lists the segments of path, or takes path as the only one, and
// reads their size from the first. tli chooses the timeline to end on, 0 the
// newest; segments of its ancestors come before its own. Of a segment that is
// there whole and as .partial the whole one is taken.
func OpenWALFolder(path string, tli wal.TLI) (*WALFolder, error) {
	f := &WALFolder{dir: path, tli: tli}
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.IsDir() {
		f.dir, f.only = filepath.Split(path)
	}
	if err := f.list(); err != nil {
		return nil, err
	}
	if len(f.segments) == 0 {
		return nil, fmt.Errorf("%s holds no WAL segment: %w", path, os.ErrNotExist)
	}
	return f, nil
}

// Source is the folder from its first segment on.
func (f *WALFolder) Source() WALSource {
	return WALSource{WALReader: f, SegmentSize: f.size, First: f.size.Start(f.segments[0].no)}
}

// Range is what the files listed cover. The last ones may hold less WAL than
// that: segments are preallocated.
func (f *WALFolder) Range() wal.Range {
	last := f.segments[len(f.segments)-1].no
	return wal.Range{Start: f.size.Start(f.segments[0].no), End: f.size.Start(last + 1)}
}

// ReadAt reads consecutive bytes of one segment. Where no file has them it
// returns io.EOF; the next call looks for new files.
func (f *WALFolder) ReadAt(p []byte, at wal.LSN) (int, error) {
	no := f.size.SegmentNo(at)
	if err := f.use(no); err != nil {
		return 0, err
	}
	p = p[:min(len(p), int(f.size)-int(f.size.Offset(at)))]
	n, err := f.open.ReadAt(p, int64(f.size.Offset(at)))
	if errors.Is(err, io.EOF) {
		// A .partial file may have been replaced by the whole one.
		f.Close() //nolint:errcheck // Only read.
		return n, io.EOF
	}
	if err != nil {
		return n, err
	}
	return n, nil
}

// Close closes the file read last.
func (f *WALFolder) Close() error {
	if f.open == nil {
		return nil
	}
	err := f.open.Close()
	f.open = nil
	return err
}

// use opens the file of a segment; io.EOF says that there is none.
func (f *WALFolder) use(no wal.SegmentNo) error {
	if f.open != nil && f.openNo == no {
		return nil
	}
	f.Close() //nolint:errcheck // Only read.
	for range 2 {
		for _, seg := range f.segments {
			if seg.no != no {
				continue
			}
			file, err := os.Open(filepath.Join(f.dir, seg.name))
			if err == nil {
				f.open, f.openNo = file, no
				return nil
			}
			// Renamed since it was listed, or removed.
			if !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		if err := f.list(); err != nil {
			return err
		}
	}
	return io.EOF
}

// list reads the folder anew.
func (f *WALFolder) list() error {
	names := []string{f.only}
	if f.only == "" {
		entries, err := os.ReadDir(f.dir)
		if err != nil {
			return err
		}
		names = names[:0]
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	if f.size == 0 {
		if err := f.learnSize(names); err != nil {
			return err
		}
	}
	var all []folderSegment
	for _, name := range names {
		base, partial := strings.CutSuffix(name, partialSuffix)
		tli, no, err := f.size.ParseFileName(base)
		if err != nil || (f.tli != 0 && tli > f.tli) {
			continue // History files, backup labels, temporary files; other lines.
		}
		all = append(all, folderSegment{tli, no, name, partial})
	}
	f.segments = chooseSegments(all)
	return nil
}

// chooseSegments keeps one file a segment: the newest timeline's, whole rather
// than partial. It ends where timelines fall back: an ancestor's segments beyond
// its child's belong to a past that was left.
func chooseSegments(all []folderSegment) []folderSegment {
	slices.SortFunc(all, func(a, b folderSegment) int {
		switch {
		case a.no != b.no:
			return cmp.Compare(a.no, b.no)
		case a.tli != b.tli:
			return cmp.Compare(b.tli, a.tli)
		case a.partial != b.partial && b.partial:
			return -1
		}
		return 1
	})
	var chosen []folderSegment
	for _, seg := range all {
		if n := len(chosen); n > 0 {
			if last := chosen[n-1]; seg.no == last.no {
				continue
			} else if seg.tli < last.tli {
				break
			}
		}
		chosen = append(chosen, seg)
	}
	return chosen
}

// learnSize reads the segment size from the first page of the first file that
// looks like a segment and has one.
func (f *WALFolder) learnSize(names []string) error {
	var seen []string
	for _, name := range names {
		base := strings.TrimSuffix(name, partialSuffix)
		if _, _, err := wal.MinSegmentSize.ParseFileName(base); err != nil {
			continue
		}
		seen = append(seen, name)
		h, err := readPageHeader(filepath.Join(f.dir, name))
		if err != nil {
			return err
		}
		if size := wal.SegmentSize(h.SegmentSize); size.Valid() && walrecord.MajorOfMagic(h.Magic) != 0 {
			f.size = size
			return nil
		}
	}
	if len(seen) > 0 {
		return fmt.Errorf("none of %s and %d more begins with a page of PostgreSQL 14 to 18", seen[0], len(seen)-1)
	}
	return fmt.Errorf("%s holds no WAL segment: %w", filepath.Join(f.dir, f.only), os.ErrNotExist)
}

func readPageHeader(path string) (h walrecord.PageHeader, err error) {
	file, err := os.Open(path)
	if err != nil {
		return h, err
	}
	defer file.Close() //nolint:errcheck // Only read.
	var b [walrecord.LongPageHeaderSize]byte
	if _, err := io.ReadFull(file, b[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return h, nil // Just created.
		}
		return h, fmt.Errorf("read first page: %w", err)
	}
	return walrecord.ParsePageHeader(b[:])
}
