package walrecord

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/wal"
)

func fixtureOptions(f *fixture, start wal.LSN) ScannerOptions {
	return ScannerOptions{Start: start, SegmentSize: fixtureSegment, MaxTLI: 1}
}

// feedInPieces feeds data in pieces of the sizes that next returns.
func feedInPieces(s *Scanner, data []byte, next func() int) error {
	// Nothing first: that Start is no place for a record shows before any byte.
	if err := s.Feed(s.Position(), nil); err != nil {
		return err
	}
	for len(data) > 0 {
		n := min(next(), len(data))
		if err := s.Feed(s.Position(), data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func TestScannerReadsEveryVersion(t *testing.T) {
	for _, major := range fixtureMajors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			f := loadFixture(t, fmt.Sprintf("pg%d", major))
			require.Greater(t, len(f.recs), 9000)
			s := NewScanner(fixtureOptions(f, f.start))
			require.NoError(t, s.Feed(f.start, f.bytes))
			end := f.start + wal.LSN(len(f.bytes))
			require.Equal(t, end, s.RecordEnd(), "the fixture ends with a segment switch")
			require.Equal(t, end, s.Position())
			require.Equal(t, f.recs[len(f.recs)-1].start, s.LastRecord())
			require.Equal(t, major, s.Major())
			require.Equal(t, wal.TLI(1), s.TLI())
			require.NotZero(t, s.SystemID())
		})
	}
}

// TestScannerPieces feeds the same WAL in pieces of every awkward size: the
// records found must not depend on it.
func TestScannerPieces(t *testing.T) {
	f := loadFixture(t, "pg18")
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := map[string]func() int{
		"1": func() int { return 1 }, "3": func() int { return 3 }, "7": func() int { return 7 },
		"8192": func() int { return 8192 }, "131072": func() int { return 131072 },
		"random": func() int { return 1 + rng.IntN(9000) }, "small": func() int { return 1 + rng.IntN(40) },
	}
	for name, next := range sizes {
		t.Run(name, func(t *testing.T) {
			var got []span
			var sum uint64
			r := NewReader(fixtureOptions(f, f.start), func(start, end wal.LSN, rec []byte) error {
				require.Equal(t, binary.LittleEndian.Uint32(rec), uint32(len(rec)))
				require.NoError(t, Decode(rec, start, end, &Record{}))
				got = append(got, span{start, end})
				sum += uint64(len(rec))
				return nil
			})
			require.NoError(t, feedInPieces(&r.Scanner, f.bytes, next))
			require.Equal(t, f.recs, got)
			s := NewScanner(fixtureOptions(f, f.start))
			require.NoError(t, feedInPieces(s, f.bytes, next))
			require.Equal(t, r.RecordEnd(), s.RecordEnd())
			require.NotZero(t, sum)
		})
	}
}

// TestScannerPositions checks the promises of the position methods after every
// byte.
func TestScannerPositions(t *testing.T) {
	f := loadFixture(t, "pg15")
	s := NewScanner(fixtureOptions(f, f.start))
	next := 0 // first record that is not yet whole
	for i := range f.bytes[:1<<18] {
		require.NoError(t, s.Feed(s.Position(), f.bytes[i:i+1]))
		for next < len(f.recs) && lastByte(f, next) < s.Position() {
			next++
		}
		if next == 0 {
			require.Equal(t, f.start, s.RecordEnd())
			continue
		}
		require.Equal(t, f.recs[next-1].end, s.RecordEnd())
		require.Equal(t, f.recs[next-1].start, s.LastRecord())
		if rs := s.RecordStart(); rs != s.RecordEnd() {
			require.Equal(t, f.recs[next].start, rs)
		}
	}
	require.Greater(t, next, 100)
}

// lastByte is the position of the last byte of record i. Only the last bytes of
// a record can be padding, and a checksum does not end in padding, so it
// suffices to walk the record.
func lastByte(f *fixture, i int) wal.LSN {
	at := f.recs[i].start
	left := wal.LSN(binary.LittleEndian.Uint32(f.from(at)))
	for {
		n := min(left, at.PageStart()+wal.BlockSize-at)
		if left -= n; left == 0 {
			return at + n - 1
		}
		at += n
		at += wal.LSN(headerSizeAt(at))
	}
}

func headerSizeAt(page wal.LSN) int {
	if fixtureSegment.Offset(page) == 0 {
		return LongPageHeaderSize
	}
	return ShortPageHeaderSize
}

// TestScannerStartsAnywhere starts at each record and at each page.
func TestScannerStartsAnywhere(t *testing.T) {
	f := loadFixture(t, "pg17")
	end := f.start + wal.LSN(len(f.bytes))
	for i := 0; i < len(f.recs); i += 37 {
		s := NewScanner(fixtureOptions(f, f.recs[i].start))
		require.Equal(t, f.recs[i].start, s.RecordEnd())
		require.NoError(t, s.Feed(f.recs[i].start, f.from(f.recs[i].start)), "from %s", f.recs[i].start)
		require.Equal(t, end, s.RecordEnd())
	}
	next := 0
	lastSwitch := f.recs[len(f.recs)-1].start
	for page := f.start; page < lastSwitch; page += wal.BlockSize {
		if hole := holeAfterSwitch(f, page); hole {
			continue
		}
		for f.recs[next].start < page {
			next++
		}
		var first wal.LSN
		r := NewReader(fixtureOptions(f, page), func(start, _ wal.LSN, _ []byte) error {
			if first == 0 {
				first = start
			}
			return nil
		})
		require.NoError(t, r.Feed(page, f.from(page)), "from page %s", page)
		require.Equal(t, f.recs[next].start, first, "from page %s", page)
		require.Equal(t, end, r.RecordEnd())
	}
}

// holeAfterSwitch says whether the page holds nothing because a switch of
// segments came before.
func holeAfterSwitch(f *fixture, page wal.LSN) bool {
	h, _ := ParsePageHeader(f.from(page))
	return h.zero()
}

func TestScannerFindsNoRecordAtAll(t *testing.T) {
	f := loadFixture(t, "pg16")
	s := NewScanner(fixtureOptions(f, f.start))
	require.NoError(t, s.Feed(f.start, f.bytes[:30]))
	require.Equal(t, f.start, s.RecordEnd())
	require.Zero(t, s.LastRecord())
	require.Equal(t, f.start+30, s.Position())
}

func TestScannerDoesNotAllocate(t *testing.T) {
	f := loadFixture(t, "pg18")
	for _, piece := range []int{13, 1000, 8192, 128 << 10} {
		s := NewScanner(fixtureOptions(f, f.start))
		begin := s.Clone()
		alloctest.None(t, 3, func() {
			*s = begin
			for off := 0; off < len(f.bytes); off += piece {
				if err := s.Feed(s.Position(), f.bytes[off:min(off+piece, len(f.bytes))]); err != nil {
					panic(err)
				}
			}
		})
	}
}

// TestReaderAndDecodeHardlyAllocate: only records that cross pages are copied,
// into a buffer that is kept.
func TestReaderAndDecodeHardlyAllocate(t *testing.T) {
	f := loadFixture(t, "pg18")
	rec := Record{Major: 18}
	r := NewReader(fixtureOptions(f, f.start), func(start, end wal.LSN, b []byte) error {
		return Decode(b, start, end, &rec)
	})
	alloctest.AtMost(t, 10, 3, func() {
		r.Reset(f.start)
		if err := r.Feed(f.start, f.bytes); err != nil {
			panic(err)
		}
	})
}

func TestScannerPositionMustContinue(t *testing.T) {
	f := loadFixture(t, "pg18")
	s := NewScanner(fixtureOptions(f, f.start))
	require.NoError(t, s.Feed(f.start, f.bytes[:100]))
	require.ErrorIs(t, s.Feed(f.start, f.bytes), ErrPosition)
	require.ErrorIs(t, s.Feed(f.start+101, f.bytes[101:]), ErrPosition)
	require.NoError(t, s.Err())
	require.NoError(t, s.Feed(f.start+100, f.bytes[100:]))
}

func TestScannerRefusesOptions(t *testing.T) {
	good := ScannerOptions{Start: 0x1000028, SegmentSize: wal.DefaultSegmentSize, PGVersion: 150018}
	require.NoError(t, NewScanner(good).Err())
	for name, change := range map[string]func(*ScannerOptions){
		"segment size":       func(o *ScannerOptions) { o.SegmentSize = 3 << 20 },
		"no segment size":    func(o *ScannerOptions) { o.SegmentSize = 0 },
		"old version":        func(o *ScannerOptions) { o.PGVersion = 130010 },
		"new version":        func(o *ScannerOptions) { o.PGVersion = 190000 },
		"unaligned":          func(o *ScannerOptions) { o.Start += 4 },
		"inside long header": func(o *ScannerOptions) { o.Start = 0x1000018 },
		"inside header":      func(o *ScannerOptions) { o.Start = 0x1002010 },
	} {
		o := good
		change(&o)
		s := NewScanner(o)
		require.Error(t, s.Err(), name)
		require.Error(t, s.Feed(o.Start, make([]byte, 100)), name)
		require.False(t, IsEnd(s.Err()) || IsCorruption(s.Err()), name)
	}
}

func TestScannerSnapshotUndoes(t *testing.T) {
	f := loadFixture(t, "pg18")
	s := NewScanner(fixtureOptions(f, f.start))
	require.NoError(t, s.Feed(f.start, f.bytes[:50_001]))
	snap := s.Clone()
	bad := append([]byte(nil), f.bytes[50_001:60_000]...)
	bad[4321] ^= 1
	err := s.Feed(s.Position(), bad)
	require.Error(t, err)
	require.Equal(t, err, s.Feed(s.Position(), nil), "the error sticks")
	*s = snap
	require.NoError(t, s.Feed(s.Position(), f.bytes[50_001:]))
	require.Equal(t, f.start+wal.LSN(len(f.bytes)), s.RecordEnd())
}

func TestScannerResetAfter(t *testing.T) {
	f := loadFixture(t, "pg15")
	for _, i := range []int{0, 100, 5000} {
		s := NewScanner(fixtureOptions(f, f.start))
		s.ResetAfter(f.recs[i].start, f.recs[i].end)
		require.Equal(t, f.recs[i].end, s.RecordEnd())
		require.NoError(t, s.Feed(f.recs[i].end, f.from(f.recs[i].end)))
		// A record that is not the one before cannot be told from one by a
		// scanner that knows none.
		s.ResetAfter(f.recs[i].start-8, f.recs[i].end)
		require.True(t, IsCorruption(s.Feed(f.recs[i].end, f.from(f.recs[i].end))))
		s.Reset(f.recs[i].end)
		require.NoError(t, s.Feed(f.recs[i].end, f.from(f.recs[i].end)))
	}
	s := NewScanner(fixtureOptions(f, f.start))
	s.ResetAfter(f.recs[1].start, f.recs[1].start)
	require.Error(t, s.Err())
}
