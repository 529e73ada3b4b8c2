package walstore

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/wal"
)

// Lent is an open segment file that somebody else reads until Release, whatever
// becomes of its name meanwhile.
type Lent struct {
	files  *handles
	h      *handle
	offset int64
}

// Fd is the file's descriptor. It may be read from only.
func (l *Lent) Fd() uintptr { return l.h.Fd() }

// Offset is where in the file, in bytes, the position lies that was asked for.
func (l *Lent) Offset() int64 { return l.offset }

// ReadAt implements io.ReaderAt.
func (l *Lent) ReadAt(p []byte, off int64) (int, error) { return l.h.ReadAt(p, off) }

// Release gives the file back, once.
func (l *Lent) Release() { l.files.release(l.h) }

// Lend lends the file with the n bytes of WAL from at on, for who passes them on by
// the file's descriptor in place of reading them. It returns false when they are not
// to be had so: ReadAt has them, or says what is wrong.
//
// Nobody tells the borrower of a Truncate, hence it is for WAL that is never cut: what
// is committed. Such bytes do not change in their file any more, also when it has been
// removed or replaced, for no file of this package is written to again under another
// name. A file that was removed takes space on the disk until it is released.
func (s *Store) Lend(at wal.LSN, n int) (Lent, bool) {
	v := s.view()
	end := at + wal.LSN(n)
	switch {
	case v.closed, n <= 0, at < v.oldest, end > v.end:
		return Lent{}, false
	case s.size.SegmentNo(at) != s.size.SegmentNo(end-1):
		return Lent{}, false
	}
	if stop, _, ok := v.history.SwitchPoint(v.history.TLIAt(at)); ok && stop < end {
		return Lent{}, false
	}
	g, ok := v.segments.holder(s.size, v.history, at)
	if !ok {
		return Lent{}, false
	}
	h, err := s.acquire(g)
	if err != nil {
		return Lent{}, false // Removed or renamed just now, unless ReadAt fails as well.
	}
	if h.Fd() == vfs.InvalidFd {
		s.files.release(h)
		return Lent{}, false
	}
	return Lent{files: &s.files, h: h, offset: int64(s.size.Offset(at))}, true
}
