package walrecord

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

// FuzzScanner feeds anything as WAL of 1 MiB segments. It must not panic, its
// positions must keep their promises, and the size of the pieces must not
// matter.
func FuzzScanner(f *testing.F) {
	const base = wal.LSN(wal.MinSegmentSize)
	seed := func(start wal.LSN, fill func(b *walrecordtest.Builder)) {
		b := walrecordtest.New(walrecordtest.Options{Start: start})
		fill(b)
		f.Add(b.Bytes(), uint16((start-base)/8), uint16(700))
	}
	seed(base, func(b *walrecordtest.Builder) { b.Message(100); b.Message(9000); b.Message(30) })
	seed(base, func(b *walrecordtest.Builder) { b.Message(100); b.Cut(20000, 1); b.Message(30) })
	seed(2*base-wal.BlockSize, func(b *walrecordtest.Builder) { b.Message(b.Room() - 8); b.Message(200) })
	seed(2*base-wal.BlockSize, func(b *walrecordtest.Builder) { b.Message(500); b.Switch(); b.Message(60) })
	seed(base+wal.BlockSize, func(b *walrecordtest.Builder) { b.Message(60); b.SetTLI(2); b.Message(9000) })
	real := loadFixture(f, "pg16")
	f.Add(real.bytes[:3*wal.BlockSize], uint16(0), uint16(8192))

	f.Fuzz(func(t *testing.T, data []byte, start8, piece uint16) {
		o := ScannerOptions{Start: base + wal.LSN(start8)*8, SegmentSize: wal.MinSegmentSize}
		if h, err := ParsePageHeader(data); err == nil && h.PageStart%wal.BlockSize == 0 && h.PageStart < 1<<62 {
			o.Start = h.PageStart
		}
		whole := NewScanner(o)
		err1 := whole.Feed(o.Start, data)
		checkPromises(t, whole, o.Start, len(data))

		last := o.Start
		pieces := NewReader(o, func(start, end wal.LSN, rec []byte) error {
			require.LessOrEqual(t, last, start)
			require.Less(t, start, end)
			require.GreaterOrEqual(t, len(rec), RecordHeaderSize)
			_ = Decode(rec, start, end, &Record{})
			last = end
			return nil
		})
		err2 := feedInPieces(&pieces.Scanner, data, func() int { return 1 + int(piece) })
		require.Equal(t, fmt.Sprint(err1), fmt.Sprint(err2))
		require.Equal(t, whole.RecordEnd(), pieces.RecordEnd())
		require.Equal(t, whole.Position(), pieces.Position())
		require.Equal(t, whole.RecordStart(), pieces.RecordStart())

		pieces.Rewind()
		if pieces.Err() == nil {
			require.LessOrEqual(t, pieces.Position(), pieces.RecordEnd())
		}
	})
}

func checkPromises(t *testing.T, s *Scanner, start wal.LSN, n int) {
	t.Helper()
	require.LessOrEqual(t, s.Position(), start+wal.LSN(n))
	require.GreaterOrEqual(t, s.RecordEnd(), start)
	if s.LastRecord() != 0 {
		require.Less(t, s.LastRecord(), s.RecordEnd())
		require.Zero(t, s.RecordEnd()%8)
	}
	if s.RecordEnd() > s.Position()+8 {
		require.Zero(t, wal.MinSegmentSize.Offset(s.RecordEnd()), "only a switch ends far ahead")
	}
}

// FuzzDecode takes apart anything. What is accepted must be consistent.
func FuzzDecode(f *testing.F) {
	for _, major := range fixtureMajors {
		seen := map[[2]uint8]bool{}
		fx := loadFixture(f, fmt.Sprintf("pg%d", major))
		r := NewReader(fixtureOptions(fx, fx.start), func(_, _ wal.LSN, rec []byte) error {
			if kind := [2]uint8{rec[16], rec[17]}; !seen[kind] && len(rec) < 600 {
				seen[kind] = true
				f.Add(rec, uint8(major))
			}
			return nil
		})
		require.NoError(f, r.Feed(fx.start, fx.bytes))
	}
	f.Fuzz(func(t *testing.T, rec []byte, major uint8) {
		r := Record{Major: int(major)}
		if len(rec) >= 4 {
			rec[0], rec[1], rec[2], rec[3] = byte(len(rec)), byte(len(rec)>>8), byte(len(rec)>>16), 0
		}
		if err := Decode(rec, 8, 8+wal.LSN(len(rec)), &r); err != nil {
			require.True(t, IsCorruption(err))
			return
		}
		n := RecordHeaderSize + len(r.MainData)
		for i, b := range r.Blocks {
			n += len(b.Data) + len(b.Image.Data)
			require.True(t, i == 0 || r.Blocks[i-1].ID < b.ID)
			require.LessOrEqual(t, int(b.Image.HoleOffset)+int(b.Image.HoleLength), wal.BlockSize)
			require.LessOrEqual(t, b.Fork, ForkInit)
		}
		require.LessOrEqual(t, n, len(rec))
		var s Stats
		s.Add(&r)
		require.Equal(t, uint64(len(rec)), s.Total().Bytes())
		require.NotEmpty(t, Describe(&r))
	})
}
