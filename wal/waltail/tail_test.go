package waltail_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
	"github.com/walhaven/walhaven/wal/waltail"
)

const segment = wal.SegmentSize(1 << 20)

// log is true WAL with the ends of its records, rising, and what the file held
// before: zeros, or WAL of older segments.
type log struct {
	start wal.LSN
	bytes []byte
	ends  []wal.LSN
	holes []wal.Range // behind switches
}

// makeLog writes records of all sizes, the smallest and some of many pages, until
// more than n bytes are there.
func makeLog(rng *rand.Rand, start wal.LSN, n int) log {
	b := walrecordtest.New(walrecordtest.Options{Start: start, SegmentSize: segment})
	l := log{start: start}
	for int(b.Position()-start) < n {
		size := 26 + rng.IntN(300)
		switch rng.IntN(40) {
		case 0:
			size = rng.IntN(40000) + 26
		case 1:
			at, end := b.Switch()
			l.holes = append(l.holes, wal.Range{Start: at, End: end})
			l.ends = append(l.ends, end)
			continue
		}
		_, end := b.Message(size)
		l.ends = append(l.ends, end)
	}
	l.bytes = b.Bytes()
	return l
}

func (l log) end() wal.LSN { return l.start + wal.LSN(len(l.bytes)) }

func (l log) from(at wal.LSN) []byte { return l.bytes[at-l.start:] }

// begin makes a Tail that followed the log up to at.
func (l log) begin(t testing.TB, at wal.LSN) *waltail.Tail {
	tail := waltail.New(walrecord.ScannerOptions{Start: l.start, SegmentSize: segment, MaxTLI: 1, TLI: 1})
	require.NoError(t, tail.Follow(l.start, l.bytes[:at-l.start]))
	return tail
}

// counted is what is demanded of a file that has all true bytes below written:
// each record that is whole there, but for the last one of a segment.
func (l log) counted(at, written wal.LSN) wal.LSN {
	limit := segment.SegmentStart(at) + wal.LSN(segment)
	best := at
	for i, end := range l.ends {
		if end > written || end >= limit {
			break
		}
		if hole := l.isHole(i); end > at && !hole {
			best = end
		}
	}
	return best
}

func (l log) isHole(i int) bool {
	for _, h := range l.holes {
		if h.End == l.ends[i] {
			return true
		}
	}
	return false
}

// recycled is true WAL together with what its file held before: zeros, the same
// records of three segments before at the same offsets, or anything.
func recycled(rng *rand.Rand, n int) (l log, olds [3][]byte) {
	seed := rng.Uint64()
	start := wal.LSN(segment) * wal.LSN(4+rng.IntN(3))
	l = makeLog(rand.New(rand.NewPCG(seed, 1)), start, n)
	olds[0] = make([]byte, len(l.bytes))
	olds[1] = makeLog(rand.New(rand.NewPCG(seed, 1)), start-3*wal.LSN(segment), n).bytes
	olds[2] = make([]byte, len(l.bytes))
	for i := range olds[2] {
		olds[2][i] = byte(i*7 + i>>8)
	}
	return l, olds
}

// Of a file in which the true bytes end anywhere, even inside a page, each whole
// record counts and nothing else does.
func TestWholeRecordsCount(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 7))
	whole, all := 0, 0
	for range 60 {
		l, olds := recycled(rng, 60000+rng.IntN(1<<20))
		for _, old := range olds {
			for range 20 {
				at := l.ends[rng.IntN(len(l.ends)/2+1)]
				if rng.IntN(3) == 0 { // inside a record, as the stream may end
					at = min(at+wal.LSN(rng.IntN(200)), l.end())
				}
				written := at + wal.LSN(rng.IntN(int(min(l.end()-at, 50000))+1))
				disk := append(append([]byte{}, l.from(at)[:written-at]...), old[written-l.start:]...)
				tail := l.begin(t, at)
				n := tail.Extend(disk)
				require.Equal(t, l.from(at)[:n], disk[:n])
				require.Equal(t, at+wal.LSN(n), tail.Position())
				require.GreaterOrEqual(t, at+wal.LSN(n), l.counted(at, written))
				all++
				if n > 0 {
					whole++
				}
				// The rest arrives, and the thread is not lost.
				require.NoError(t, tail.Follow(tail.Position(), l.from(tail.Position())))
			}
		}
	}
	t.Logf("%d of %d files had more", whole, all)
	require.Greater(t, whole, all/3)
}

// While a page is written a reader sees any mixture of old and new. What counts
// is true all the same.
func TestTornPagesNeverCount(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 9))
	some := 0
	for range 40 {
		l, olds := recycled(rng, 80000)
		for _, old := range olds {
			for range 40 {
				at := l.ends[rng.IntN(len(l.ends)/2+1)]
				disk := append([]byte{}, l.from(at)...)
				for range min(len(disk), 1+rng.IntN(6)) {
					from := rng.IntN(min(len(disk), 20000))
					upto := min(len(disk), from+1+rng.IntN(64))
					copy(disk[from:upto], old[int(at-l.start)+from:])
				}
				n := l.begin(t, at).Extend(disk)
				require.True(t, bytes.Equal(l.from(at)[:n], disk[:n]), "what counted is not PostgreSQL's")
				if n > 0 {
					some++
				}
			}
		}
	}
	require.Greater(t, some, 100)
}

// Bytes that no checksum covers are zero, or the record does not count.
func TestPaddingIsZero(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{SegmentSize: segment})
	_, first := b.Message(48)
	start, end := b.Message(51) // 5 bytes of padding
	_, last := b.Message(64)
	whole := b.Bytes()
	for i := start + 51; i < end; i++ {
		tail := waltail.New(walrecord.ScannerOptions{Start: b.Start(), SegmentSize: segment, MaxTLI: 1, TLI: 1})
		require.NoError(t, tail.Follow(b.Start(), whole[:first-b.Start()]))
		disk := append([]byte{}, whole[first-b.Start():]...)
		require.Equal(t, int(last-first), tail.Extend(disk))

		tail = waltail.New(walrecord.ScannerOptions{Start: b.Start(), SegmentSize: segment, MaxTLI: 1, TLI: 1})
		require.NoError(t, tail.Follow(b.Start(), whole[:first-b.Start()]))
		disk[i-first] = 1
		require.Zero(t, tail.Extend(disk))
		disk[i-first] = 0
		require.Equal(t, int(last-first), tail.Extend(disk), "once it is written")
	}
}

// Behind a switch nothing proves what the segment holds.
func TestNothingCountsBehindASwitch(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{SegmentSize: segment})
	_, first := b.Message(48)
	_, second := b.Message(48)
	start, end := b.Switch()
	require.Equal(t, second, start)
	tail := waltail.New(walrecord.ScannerOptions{Start: b.Start(), SegmentSize: segment, MaxTLI: 1, TLI: 1})
	require.NoError(t, tail.Follow(b.Start(), b.Bytes()[:first-b.Start()]))
	require.Equal(t, int(second-first), tail.Extend(b.Bytes()[first-b.Start():]))
	require.Zero(t, tail.Extend(b.Bytes()[second-b.Start():]))
	require.NoError(t, tail.Follow(second, b.Bytes()[second-b.Start():]))
	require.Equal(t, end, tail.Position())
	_, next := b.Message(100)
	_, after := b.Message(100)
	require.Equal(t, int(after-end), tail.Extend(b.Bytes()[end-b.Start():]))
	require.Less(t, next, after)
}

// What a server's recovery puts in the place of a record that a crash cut short
// does not continue what the server before it had written of that record.
func TestRecoveryIsAnotherLife(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{SegmentSize: segment})
	_, first := b.Message(48)
	lost, _ := b.Cut(9000, 0)
	b.Message(100)
	tail := waltail.New(walrecord.ScannerOptions{Start: b.Start(), SegmentSize: segment, MaxTLI: 1, TLI: 1})
	require.NoError(t, tail.Follow(b.Start(), b.Bytes()[:first-b.Start()]))
	require.Equal(t, first, lost)
	require.Zero(t, tail.Extend(b.Bytes()[first-b.Start():]))
}

// Behind a gap the thread is taken up at the next page, and nothing counts before a
// whole record was followed there: what ends a record that began before it proves
// nothing, and nor does a link to what was not seen.
func TestThreadIsTakenUpBehindAGap(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{SegmentSize: segment})
	var ends []wal.LSN
	for range 60 {
		_, end := b.Message(300)
		ends = append(ends, end)
	}
	bytes := func(from, upto wal.LSN) []byte { return b.Bytes()[from-b.Start() : upto-b.Start()] }
	tail := waltail.New(walrecord.ScannerOptions{Start: b.Start(), SegmentSize: segment, MaxTLI: 1, TLI: 1})
	require.NoError(t, tail.Follow(b.Start(), bytes(b.Start(), ends[3])))
	require.NoError(t, tail.Follow(ends[5], bytes(ends[5], ends[10])))
	require.Equal(t, ends[3], tail.Position(), "no page began")

	page := ends[10].PageStart() + wal.BlockSize
	i := 11
	for ends[i] <= page {
		i++
	}
	require.Less(t, ends[i-1], page, "a record lies on both pages")
	require.NoError(t, tail.Follow(ends[10], bytes(ends[10], ends[i])))
	require.Equal(t, ends[i], tail.Position())
	require.Zero(t, tail.Extend(bytes(ends[i], ends[i+5])))
	require.NoError(t, tail.Follow(ends[i], bytes(ends[i], ends[i+1])))
	require.Equal(t, int(ends[i+5]-ends[i+1]), tail.Extend(bytes(ends[i+1], ends[i+5])))
	require.Equal(t, ends[i+5], tail.Position())
}

// What a switch leaves of its segment has no record to begin with; the next segment
// has.
func TestGapThatEndsBehindASwitch(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{SegmentSize: segment})
	_, first := b.Message(48)
	_, end := b.Switch()
	b.Message(100)
	_, second := b.Message(100)
	_, third := b.Message(100)
	bytes := func(from, upto wal.LSN) []byte { return b.Bytes()[from-b.Start() : upto-b.Start()] }
	tail := waltail.New(walrecord.ScannerOptions{Start: b.Start(), SegmentSize: segment, MaxTLI: 1, TLI: 1})
	require.NoError(t, tail.Follow(b.Start(), bytes(b.Start(), first)))
	require.NoError(t, tail.Follow(end-20000, bytes(end-20000, end-100)))
	require.Less(t, tail.Position(), end-100)
	require.NoError(t, tail.Follow(end-100, bytes(end-100, second)))
	require.Equal(t, int(third-second), tail.Extend(bytes(second, third)))
}

// FuzzExtend has a file hold anything behind true WAL: what counts is a chain of
// records that the scanner proves, within what was given.
func FuzzExtend(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 5))
	l := makeLog(rng, wal.LSN(segment)*5, 20000)
	at := l.ends[10]
	f.Add(l.from(at)[:5000], uint16(0), byte(0))
	f.Add(l.from(at)[:5000], uint16(700), byte(1))
	f.Add([]byte{}, uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, disk []byte, where uint16, xor byte) {
		disk = append([]byte{}, disk...)
		if len(disk) > 0 {
			disk[int(where)%len(disk)] ^= xor
		}
		tail := l.begin(t, at)
		n := tail.Extend(disk)
		require.LessOrEqual(t, n, len(disk))
		s := walrecord.NewScanner(walrecord.ScannerOptions{Start: l.start, SegmentSize: segment, MaxTLI: 1, TLI: 1, ZeroPadding: true})
		require.NoError(t, s.Feed(l.start, l.bytes[:at-l.start]))
		require.NoError(t, s.Feed(at, disk[:n]))
		require.Equal(t, n, int(s.Position()-at))
		require.Equal(t, s.Position(), tail.Position())
	})
}
