package walrecord

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

// TestEveryBrokenBitIsFound flips each bit of real and made WAL in turn. A bit
// of a record must keep the record from being accepted; a bit of a page header
// must stop the scan. Only padding is not looked at: between records, in the
// header's tail, and one flag that an archiver may change.
func TestEveryBrokenBitIsFound(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{})
	for _, n := range []int{26, 31, 40, 300, 8100, 27, 20000, 33, 64} {
		b.Message(n)
	}
	b.Cut(30000, 1)
	b.Message(100)
	var recs []span
	opts := ScannerOptions{
		Start: b.Start(), SegmentSize: wal.MinSegmentSize, MaxTLI: 1,
		SystemID: walrecordtest.SystemID, PGVersion: 18,
	}
	r := NewReader(opts, func(start, end wal.LSN, _ []byte) error {
		recs = append(recs, span{start, end})
		return nil
	})
	require.NoError(t, r.Feed(b.Start(), b.Bytes()))
	kinds := classify(b.Bytes(), b.Start(), recs)

	found := 0
	for off := range b.Bytes() {
		// Every byte, one bit each by turns; all bits where there are few bytes.
		bits := []int{off % 8}
		if kinds[off] != kindData {
			bits = []int{0, 1, 2, 3, 4, 5, 6, 7}
		}
		for _, bit := range bits {
			b.Bytes()[off] ^= 1 << bit
			s := NewScanner(opts)
			err := s.Feed(b.Start(), b.Bytes())
			b.Bytes()[off] ^= 1 << bit
			at := b.Start() + wal.LSN(off)
			switch kinds[off] {
			case kindLoose:
				require.NoError(t, err)
				continue
			case kindLost:
				continue // dropped bytes prove nothing, but must not break the rest: no panic
			}
			found++
			if kinds[off] == kindPage {
				if off%wal.BlockSize == 2 && bit == 2 {
					require.NoError(t, err, "XLP_BKP_REMOVABLE")
					continue
				}
				require.Error(t, err, "bit %d of page header byte at %s", bit, at)
			}
			for _, rec := range recs {
				if at >= rec.start && at < rec.end && kinds[off] != kindPage {
					require.LessOrEqual(t, s.RecordEnd(), rec.start, "bit %d at %s", bit, at)
				}
			}
		}
	}
	require.Greater(t, found, 30_000)
}

type kind uint8

const (
	kindLoose kind = iota // padding
	kindPage
	kindHead // of a record
	kindData
	kindLost // of a record cut short
)

// classify says what each byte of WAL is.
func classify(b []byte, start wal.LSN, recs []span) []kind {
	kinds := make([]kind, len(b))
	for i := range kinds {
		kinds[i] = kindLost
	}
	for _, rec := range recs {
		off := int(rec.start - start)
		total := int(uint32(b[off]) | uint32(b[off+1])<<8 | uint32(b[off+2])<<16)
		for n := 0; n < total; off++ {
			if off%wal.BlockSize == 0 {
				off += headerSizeAt(start + wal.LSN(off))
			}
			kinds[off] = kindData
			if n < RecordHeaderSize {
				kinds[off] = kindHead
			}
			n++
		}
		for ; off%8 != 0; off++ {
			kinds[off] = kindLoose
		}
	}
	for page := 0; page < len(b); page += wal.BlockSize {
		for i := range headerSizeAt(start + wal.LSN(page)) {
			kinds[page+i] = kindPage
			if i >= 20 && i < 24 {
				kinds[page+i] = kindLoose
			}
		}
	}
	return kinds
}

// TestBrokenBitsOfRealWAL samples bits of what servers wrote.
func TestBrokenBitsOfRealWAL(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for _, name := range []string{"pg14", "pg18"} {
		f := loadFixture(t, name)
		for range 400 {
			i := rng.IntN(len(f.recs) - 2)
			rec := f.recs[i]
			total := int(lastByte(f, i)-rec.start) + 1
			at := rec.start + wal.LSN(rng.IntN(total))
			if at-at.PageStart() < LongPageHeaderSize {
				continue
			}
			from := max(rec.start.PageStart(), f.start)
			data := append([]byte(nil), f.from(from)[:min(1<<18, len(f.from(from)))]...)
			data[at-from] ^= 1 << rng.IntN(8)
			s := NewScanner(ScannerOptions{Start: from, SegmentSize: fixtureSegment})
			_ = s.Feed(from, data)
			require.LessOrEqual(t, s.RecordEnd(), rec.start, "%s at %s", name, at)
		}
	}
}

// TestRecordsOutOfPlace: whole, correct records in the wrong place are refused
// by their back links.
func TestRecordsOutOfPlace(t *testing.T) {
	build := func(sizes ...int) *walrecordtest.Builder {
		b := walrecordtest.New(walrecordtest.Options{})
		for _, n := range sizes {
			b.Message(n)
		}
		return b
	}
	a, b := build(104, 104, 104), build(208, 104)
	mixed := append(append([]byte(nil), b.Bytes()[:LongPageHeaderSize+208]...), a.Bytes()[LongPageHeaderSize+208:]...)
	s := NewScanner(ScannerOptions{Start: a.Start(), SegmentSize: wal.MinSegmentSize})
	require.ErrorContains(t, s.Feed(a.Start(), mixed), "links back")
}
