package walrecord

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

// inSegment returns the builder's WAL as it lies in a segment of a later time:
// followed by zeros, or over an old segment's bytes.
func inSegment(b *walrecordtest.Builder, old []byte) []byte {
	seg := make([]byte, wal.MinSegmentSize)
	copy(seg, old)
	copy(seg, b.Bytes())
	return seg
}

func oldSegment(start wal.LSN) []byte {
	b := walrecordtest.New(walrecordtest.Options{Start: start})
	b.Pad(start + wal.LSN(wal.MinSegmentSize))
	return b.Bytes()
}

func TestEndOfWAL(t *testing.T) {
	const size = wal.LSN(wal.MinSegmentSize)
	start := 9 * size
	build := func(fill func(b *walrecordtest.Builder)) *walrecordtest.Builder {
		b := walrecordtest.New(walrecordtest.Options{Start: start})
		b.Message(500)
		fill(b)
		return b
	}
	partly := build(func(b *walrecordtest.Builder) { b.Message(100) })
	fullPage := build(func(b *walrecordtest.Builder) { b.Message(b.Room()) })
	// PostgreSQL writes whole pages: what follows the last record is zero up to
	// the page's end even in a recycled segment.
	stale := oldSegment(2 * size)
	clear(stale[:wal.BlockSize])

	for name, c := range map[string]struct {
		b      *walrecordtest.Builder
		seg    []byte
		reason EndReason
	}{
		"zeros after a record":          {partly, inSegment(partly, nil), EndZeroLength},
		"zeros after a full page":       {fullPage, inSegment(fullPage, nil), EndZeroPage},
		"recycled, after a record":      {partly, inSegment(partly, stale), EndZeroLength},
		"recycled, after a full page":   {fullPage, inSegment(fullPage, stale), EndStalePage},
		"recycled from a newer version": {fullPage, inSegment(fullPage, oldSegment(3*size)), EndStalePage},
	} {
		for _, n := range pieces {
			s := NewScanner(ScannerOptions{Start: start, SegmentSize: wal.MinSegmentSize})
			err := feedInPieces(s, c.seg, func() int { return n })
			var end *EndError
			require.ErrorAs(t, err, &end, name)
			require.False(t, IsCorruption(err))
			require.Equal(t, c.reason, end.Reason, name)
			require.Equal(t, c.b.Position(), end.LSN, name)
			require.Equal(t, c.b.Position(), s.RecordEnd(), name)
			require.Equal(t, c.b.Position(), s.Position(), name)
			require.Zero(t, end.Torn, name)
			require.Contains(t, err.Error(), end.Reason.String())
		}
	}
}

// TestEndInsideRecord: the first part of a record is there, the rest was never
// written.
func TestEndInsideRecord(t *testing.T) {
	const size = wal.LSN(wal.MinSegmentSize)
	b := walrecordtest.New(walrecordtest.Options{Start: 9 * size})
	_, end := b.Message(500)
	torn, _ := b.Message(30000)
	for name, old := range map[string][]byte{"zeros": nil, "recycled": oldSegment(size)} {
		seg := make([]byte, size)
		copy(seg, old)
		copy(seg, b.Bytes()[:2*wal.BlockSize])
		s := NewScanner(ScannerOptions{Start: b.Start(), SegmentSize: wal.MinSegmentSize})
		err := s.Feed(b.Start(), seg)
		var e *EndError
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, torn, e.Torn)
		require.Equal(t, b.Start()+2*wal.BlockSize, e.LSN)
		require.Equal(t, end, s.RecordEnd())
		require.Equal(t, torn, s.RecordStart())
	}
}

// TestTornPageIsNotTheEnd: a page of which only some sectors arrived has wrong
// bytes, and that is reported as such.
func TestTornPageIsNotTheEnd(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{})
	b.Message(3000)
	_, end := b.Message(100)
	bad, _ := b.Message(3000)
	seg := inSegment(b, nil)
	clear(seg[4096:8192]) // the record that began before goes on as zeros
	s := NewScanner(ScannerOptions{Start: b.Start(), SegmentSize: wal.MinSegmentSize})
	err := s.Feed(b.Start(), seg)
	var c *CorruptionError
	require.ErrorAs(t, err, &c)
	require.Equal(t, bad, c.LSN)
	require.Equal(t, end, s.RecordEnd())
	require.Equal(t, bad, s.Position())
}

// TestRewindGoesOn: a reader at the end of WAL goes on once more was written,
// and needs no other start.
func TestRewindGoesOn(t *testing.T) {
	whole := walrecordtest.New(walrecordtest.Options{})
	for i := range 400 {
		whole.Message(40 + 53*i)
	}
	rows := 0
	r := NewReader(ScannerOptions{Start: whole.Start(), SegmentSize: wal.MinSegmentSize},
		func(wal.LSN, wal.LSN, []byte) error { rows++; return nil })
	total := len(whole.Bytes())
	for written := 0; written < total; {
		written = min(total, written+4000+written%977)
		// What is not yet written reads as zeros.
		upTo := (written/wal.BlockSize + 3) * wal.BlockSize
		view := make([]byte, upTo)
		copy(view, whole.Bytes()[:written])
		err := r.Feed(r.Position(), view[r.Position()-whole.Start():])
		require.Error(t, err)
		r.Rewind()
		require.NoError(t, r.Err())
		require.LessOrEqual(t, r.Position(), whole.Start()+wal.LSN(written))
	}
	require.NoError(t, r.Feed(r.Position(), whole.Bytes()[r.Position()-whole.Start():]))
	require.Equal(t, 400, rows)
	require.Equal(t, whole.Position(), r.RecordEnd())
}

// TestCallbackErrorStops: Feed returns the callback's error as it is, after the
// record, and the reader goes on from there.
func TestCallbackErrorStops(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{})
	for i := range 300 {
		b.Message(30 + 91*i%12000)
	}
	stop := errors.New("stop")
	rows := 0
	r := NewReader(ScannerOptions{Start: b.Start(), SegmentSize: wal.MinSegmentSize},
		func(wal.LSN, wal.LSN, []byte) error { rows++; return stop })
	for i := 1; i <= 300; i++ {
		require.Equal(t, stop, r.Feed(r.Position(), b.Bytes()[r.Position()-b.Start():]))
		require.Equal(t, i, rows)
		require.NoError(t, r.Err())
	}
	require.NoError(t, r.Feed(r.Position(), b.Bytes()[r.Position()-b.Start():]))
	require.Equal(t, b.Position(), r.RecordEnd())
}
