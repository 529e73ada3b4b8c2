package walrecord

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

// scanBuilt feeds what b made, in pieces of n bytes, to a scanner that knows
// everything about it.
func scanBuilt(t *testing.T, b *walrecordtest.Builder, size wal.SegmentSize, n int) (*Scanner, error) {
	t.Helper()
	s := NewScanner(ScannerOptions{Start: b.Start(), SegmentSize: size, SystemID: walrecordtest.SystemID})
	return s, feedInPieces(s, b.Bytes(), func() int { return n })
}

var pieces = []int{1, 8, 13, 8192, 1 << 20}

// TestRecordEndAtPageEnd: the end of a record that fills its page is the page
// boundary, not the place after the next page's header.
func TestRecordEndAtPageEnd(t *testing.T) {
	for _, lack := range []int{0, 1, 7} { // bytes of padding
		for _, n := range pieces {
			b := walrecordtest.New(walrecordtest.Options{})
			b.Message(100)
			_, end := b.Message(b.Room() - lack)
			require.Equal(t, end.PageStart(), end)
			s, err := scanBuilt(t, b, wal.MinSegmentSize, n)
			require.NoError(t, err)
			require.Equal(t, end, s.RecordEnd())
			require.Equal(t, end, s.RecordStart())

			start, _ := b.Message(50)
			require.Equal(t, end+ShortPageHeaderSize, start)
			s, err = scanBuilt(t, b, wal.MinSegmentSize, n)
			require.NoError(t, err)
			require.Equal(t, start, s.LastRecord())
		}
	}
}

// TestHeaderAcrossPages: a record begins when 8 bytes are left, so that its
// header, and at times its whole length, lies on two pages.
func TestHeaderAcrossPages(t *testing.T) {
	for room := 8; room <= 32; room += 8 {
		for _, total := range []int{24, 26, 40, 3 * wal.BlockSize} {
			for _, n := range pieces {
				b := walrecordtest.New(walrecordtest.Options{})
				b.Message(b.Room() - room)
				require.Equal(t, room, b.Room())
				var payload []byte
				if total > 24 {
					payload = walrecordtest.MainData(total - 24)
				}
				start, end := b.Record(uint8(RmgrLogicalMessage), 0, 7, payload)
				b.Message(99)
				var got []span
				r := NewReader(ScannerOptions{Start: b.Start(), SegmentSize: wal.MinSegmentSize},
					func(start, end wal.LSN, rec []byte) error {
						got = append(got, span{start, end})
						return Decode(rec, start, end, &Record{})
					})
				require.NoError(t, feedInPieces(&r.Scanner, b.Bytes(), func() int { return n }))
				require.Len(t, got, 3)
				require.Equal(t, span{start, end}, got[1])
			}
		}
	}
}

// TestSegmentSwitch in all places: inside a segment, so that it ends exactly at
// the segment's end, and across the end, which skips the next segment whole.
func TestSegmentSwitch(t *testing.T) {
	const size = wal.MinSegmentSize
	segEnd := 2 * wal.LSN(size)
	for _, left := range []int{8, 16, 24, 32, 4000, 500000} {
		for _, n := range []int{7, 8192, 1 << 20} {
			b := walrecordtest.New(walrecordtest.Options{Start: wal.LSN(size)})
			b.Pad(segEnd - wal.LSN(left))
			_, end := b.Switch()
			switch {
			case left < 24:
				require.Equal(t, segEnd+wal.LSN(size), end)
			default:
				require.Equal(t, segEnd, end)
			}
			s, err := scanBuilt(t, b, size, n)
			require.NoError(t, err)
			require.Equal(t, end, s.RecordEnd(), "%d bytes left", left)
			require.Equal(t, end, s.Position())

			last, _ := b.Message(64)
			s, err = scanBuilt(t, b, size, n)
			require.NoError(t, err)
			require.Equal(t, last, s.LastRecord())
		}
	}
}

// TestSwitchReachesBeyondPosition: RecordEnd is the next segment's start as
// soon as the switch was read, though zeros are still to come.
func TestSwitchReachesBeyondPosition(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{})
	b.Message(100)
	start, end := b.Switch()
	upTo := int(start-b.Start()) + RecordHeaderSize
	s, err := scanBuilt(t, b, wal.MinSegmentSize, 1<<20)
	require.NoError(t, err)
	require.Equal(t, end, s.RecordEnd())

	s.Reset(b.Start())
	require.NoError(t, s.Feed(b.Start(), b.Bytes()[:upTo]))
	require.Equal(t, end, s.RecordEnd())
	require.Less(t, s.Position(), end)
	s.Rewind()
	require.Equal(t, b.Start()+wal.LSN(upTo), s.Position(), "what follows a switch stays to be fed")
	require.NoError(t, s.Feed(s.Position(), b.Bytes()[upTo:]))
	require.Equal(t, end, s.RecordEnd())
}

func TestSegmentSizes(t *testing.T) {
	for size := wal.MinSegmentSize; size <= wal.MaxSegmentSize; size *= 2 {
		for major := minMajor; major <= maxMajor; major++ {
			b := walrecordtest.New(walrecordtest.Options{
				Start: wal.LSN(size)*5 - 3*wal.BlockSize, SegmentSize: size, Major: major,
			})
			for range 20 {
				b.Message(3000)
			}
			s, err := scanBuilt(t, b, size, 5000)
			require.NoError(t, err)
			require.Equal(t, b.Position(), s.RecordEnd())
			require.Equal(t, major, s.Major())
		}
		// The same bytes are wrong for another size of segment.
		b := walrecordtest.New(walrecordtest.Options{Start: wal.LSN(size), SegmentSize: size})
		b.Message(100)
		other := size * 2
		if size == wal.MaxSegmentSize {
			other = size / 2
		}
		_, err := scanBuilt(t, b, other, 5000)
		require.True(t, IsCorruption(err))
	}
}

func TestTimelineMayOnlyRise(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{})
	b.Message(9000)
	b.SetTLI(3)
	b.Message(20000)
	s, err := scanBuilt(t, b, wal.MinSegmentSize, 100)
	require.NoError(t, err)
	require.Equal(t, wal.TLI(3), s.TLI())

	s = NewScanner(ScannerOptions{Start: b.Start(), SegmentSize: wal.MinSegmentSize, MaxTLI: 2})
	require.True(t, IsCorruption(s.Feed(b.Start(), b.Bytes())))
	s = NewScanner(ScannerOptions{Start: b.Start(), SegmentSize: wal.MinSegmentSize, TLI: 2})
	require.True(t, IsCorruption(s.Feed(b.Start(), b.Bytes())))

	b.SetTLI(2)
	b.Message(20000)
	_, err = scanBuilt(t, b, wal.MinSegmentSize, 100)
	require.True(t, IsCorruption(err))
	require.ErrorContains(t, err, "timeline 2 after timeline 3")
}

func TestSystemAndVersionAreLearned(t *testing.T) {
	make2 := func(major int, id wal.SystemID) []byte {
		b := walrecordtest.New(walrecordtest.Options{Start: 2 << 20, Major: major, SystemID: id})
		b.Message(100)
		return b.Bytes()
	}
	b := walrecordtest.New(walrecordtest.Options{Start: 1 << 20, Major: 16, SystemID: 42})
	b.Pad(2 << 20)
	for name, next := range map[string][]byte{"version": make2(17, 42), "system": make2(16, 43)} {
		s := NewScanner(ScannerOptions{Start: b.Start(), SegmentSize: wal.MinSegmentSize})
		require.NoError(t, s.Feed(b.Start(), b.Bytes()))
		require.Equal(t, wal.SystemID(42), s.SystemID())
		require.True(t, IsCorruption(s.Feed(s.Position(), next)), name)
	}
}

// TestCustomManagers are known from version 15 on.
func TestCustomManagers(t *testing.T) {
	for rmid, ok := range map[uint8][2]bool{21: {true, true}, 22: {false, false}, 127: {false, false}, 128: {false, true}, 255: {false, true}} {
		for i, major := range []int{14, 15} {
			b := walrecordtest.New(walrecordtest.Options{Major: major})
			b.Record(rmid, 0, 0, walrecordtest.MainData(10))
			_, err := scanBuilt(t, b, wal.MinSegmentSize, 4)
			require.Equal(t, ok[i], err == nil, "manager %d in version %d: %v", rmid, major, err)
		}
	}
}

// TestRecordCutByCrash follows PostgreSQL's rules for a lost continuation.
func TestRecordCutByCrash(t *testing.T) {
	for _, before := range []int{100, wal.BlockSize - LongPageHeaderSize - 8} { // 8: the cut is inside the record's header
		for _, cutPages := range []int{0, 1, 4} {
			for _, n := range pieces {
				b := walrecordtest.New(walrecordtest.Options{})
				b.Message(before)
				lost, _ := b.Cut(90000, cutPages)
				b.Message(200)
				var starts []wal.LSN
				r := NewReader(ScannerOptions{Start: b.Start(), SegmentSize: wal.MinSegmentSize},
					func(start, end wal.LSN, rec []byte) error {
						starts = append(starts, start)
						return Decode(rec, start, end, &Record{})
					})
				require.NoError(t, feedInPieces(&r.Scanner, b.Bytes(), func() int { return n }))
				require.Equal(t, b.Position(), r.RecordEnd())
				require.Equal(t, lost, r.Overwritten())
				require.Len(t, starts, 3)
				require.NotContains(t, starts, lost)
			}
		}
	}
}

// TestOverwriteMustBeTrue: the page's claim without a record cut short, without
// the record that it announces, or naming another one, is refused.
func TestOverwriteMustBeTrue(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{})
	b.Message(100)
	b.Cut(50000, 1)
	page := b.Bytes()[2*wal.BlockSize:]
	s := NewScanner(ScannerOptions{Start: b.Start() + 2*wal.BlockSize, SegmentSize: wal.MinSegmentSize})
	require.NoError(t, s.Feed(s.Position(), page), "found while searching for a first record")

	s.ResetAfter(b.Start()+64, b.Start()+2*wal.BlockSize)
	require.ErrorContains(t, s.Feed(s.Position(), page), "no record was cut short")

	// The page names a record 8 bytes further on.
	b2 := walrecordtest.New(walrecordtest.Options{})
	b2.Message(108)
	b2.Cut(50000, 1)
	mixed := append(append([]byte(nil), b.Bytes()[:2*wal.BlockSize]...), b2.Bytes()[2*wal.BlockSize:]...)
	for _, n := range pieces {
		s.Reset(b.Start())
		require.ErrorContains(t, feedInPieces(s, mixed, func() int { return n }), "was cut short")
	}

	// The page announces a replacement, a correct record of another kind follows.
	rec := b.Bytes()[2*wal.BlockSize+ShortPageHeaderSize:][:overwriteRecordSize]
	rec[17] = byte(RmgrLogicalMessage)
	crc := crc32.Update(crc32.Checksum(rec[RecordHeaderSize:], castagnoli), castagnoli, rec[:crcOffset])
	binary.LittleEndian.PutUint32(rec[crcOffset:], crc)
	for _, n := range pieces {
		s.Reset(b.Start())
		require.ErrorContains(t, feedInPieces(s, b.Bytes(), func() int { return n }), "its first record does not")
	}
}

func TestRealOverwrite(t *testing.T) {
	for _, major := range []int{14, 15, 18} {
		f := loadFixture(t, fmt.Sprintf("pg%d-overwrite", major))
		replaced := map[wal.LSN]int{}
		f.eachRecord(t, major, func(r *Record) {
			if Identify(r) == "OVERWRITE_CONTRECORD" {
				require.Equal(t, f.start+30*wal.BlockSize, r.Start.PageStart(), "where the test bed cut")
				replaced[wal.LSN(binary.LittleEndian.Uint64(r.MainData))]++
			}
		})
		for _, n := range pieces {
			s := NewScanner(fixtureOptions(f, f.start))
			err := feedInPieces(s, f.bytes, func() int { return n })
			var end *EndError
			require.ErrorAs(t, err, &end)
			require.Equal(t, EndZeroLength, end.Reason)
			require.Zero(t, end.Torn)
			require.Equal(t, s.RecordEnd(), end.LSN)
			require.NotZero(t, s.Overwritten())
			require.Equal(t, 1, replaced[s.Overwritten()])
		}
	}
}
