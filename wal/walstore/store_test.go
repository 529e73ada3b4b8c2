package walstore

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/walhaven/walhaven/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testDir = "/data/tenant/timeline"

// testStart lies inside a page, so that there is a prefix.
const testStart = wal.LSN(5)<<20 + 3*wal.BlockSize + 0x1000

func testControl() Control {
	return Control{
		ID: wal.TTID{Tenant: wal.TenantID{1}, Timeline: wal.TimelineID{2}}, Name: "main",
		SystemID: testSystemID, PGVersion: testVersion, SegmentSize: testSegment, Start: testStart,
		History: wal.TimelineHistory{Last: 1}, State: []byte("state 0"),
	}
}

func twoTimelines(s wal.LSN) wal.TimelineHistory {
	return wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: s, Reason: "promoted"}}}
}

func newGenerator() *generator { return &generator{tli: 1, pos: testStart, prev: testStart - 64} }

// create makes a store with a synthesised prefix.
func create(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Create(testDir, testControl(), o)
	require.NoError(t, err)
	require.NoError(t, s.SynthesizePrefix())
	return s
}

// push appends what g has made.
func push(t testing.TB, s *Store, g *generator) {
	t.Helper()
	at, b := g.take()
	require.NoError(t, s.Append(g.tli, at, b))
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(testDir, o)
	require.NoError(t, err)
	return s
}

func shut(t testing.TB, s *Store) {
	t.Helper()
	require.NoError(t, s.Close())
}

// stored returns all bytes from the start on.
func stored(t testing.TB, s *Store) []byte {
	t.Helper()
	b := make([]byte, s.Positions().Write-testStart)
	n, err := s.ReadAt(b, testStart)
	if len(b) > 0 || !errors.Is(err, io.EOF) {
		require.NoError(t, err)
	}
	require.Len(t, b, n)
	return b
}

func TestAppendSyncReopen(t *testing.T) {
	o := Options{FS: vfs.NewMem()}
	s, err := Create(testDir, testControl(), o)
	require.NoError(t, err)
	first := testSegment.SegmentStart(testStart)
	require.Equal(t, Positions{first, first, first, first}, s.Positions())
	require.NoError(t, s.SynthesizePrefix())
	require.Equal(t, Positions{testStart, testStart, first, first}, s.Positions())
	require.NoError(t, s.SynthesizePrefix(), "repeated")

	g := newGenerator()
	all := newGenerator()
	for i := range 40 {
		g.record(70_000, byte(i))
		all.record(70_000, byte(i))
		push(t, s, g)
		require.NoError(t, s.Sync())
		require.Equal(t, Positions{g.pos, g.pos, g.pos, g.pos}, s.Positions())
	}
	_, want := all.take()
	require.Equal(t, want, stored(t, s))
	require.ErrorIs(t, s.Append(1, g.pos+8, []byte{0}), ErrGap)
	require.ErrorIs(t, s.Append(1, g.pos-8, []byte{0}), ErrOverlap)
	require.ErrorIs(t, s.Append(2, g.pos, []byte{0}), ErrWrongTLI)
	shut(t, s)
	require.ErrorIs(t, s.Append(1, g.pos, []byte{0}), ErrClosed)
	shut(t, s)

	s = open(t, o)
	defer shut(t, s)
	require.Equal(t, Positions{g.pos, g.pos, g.pos, g.pos}, s.Positions())
	require.Equal(t, want, stored(t, s))
	g.record(100, 1)
	push(t, s, g)
	require.NoError(t, s.Sync())
}

// Once WAL comes slowly again all zeroes that were only allocated are written, those of
// the open segment behind what is there, by one append after the other.
func TestAllocatedZeroesAreWrittenInTheEnd(t *testing.T) {
	var zeroed atomic.Int32
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt && strings.HasSuffix(op.Path, preparedName) {
			zeroed.Add(1) // Both files had the name once.
		}
		return nil
	}))
	s := create(t, Options{FS: fs, AllocateWithin: time.Hour})
	defer shut(t, s)
	g := newGenerator()
	var want []byte
	add := func(n int) {
		g.record(n, 1)
		at, b := g.take()
		want = append(want, b...)
		require.NoError(t, s.Append(g.tli, at, b))
		s.background.Wait()
	}
	for range 3 { // The second segment was prepared while the first one filled.
		add(int(testSegment) / 2)
	}
	require.True(t, s.tail.sparse)
	require.True(t, s.prep.sparse)
	s.calmAfter = 0
	zeroed.Store(0)
	appends := int32(0)
	for ; s.tail.sparse; appends++ {
		add(100)
		require.Less(t, appends, int32(testSegment/chunkSize))
	}
	require.False(t, s.prep.sparse)
	require.Equal(t, int32(testSegment/chunkSize)+2*appends, zeroed.Load())
	add(100)
	require.Equal(t, int32(testSegment/chunkSize)+2*appends+1, zeroed.Load(), "no more of them")
	require.Equal(t, want, stored(t, s))
	require.NoError(t, s.Sync())
	end := int(s.size.Offset(g.pos))
	f, err := fs.Open(s.d.path(segment{segmentKey: s.tail.segmentKey, partial: true}.name(s.size)))
	require.NoError(t, err)
	content, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, want[len(want)-end:], content[:end])
	require.Equal(t, make([]byte, int(testSegment)-end), content[end:])
}

// Where WAL comes fast, the next segment's zeroes are not written. It reads as any
// other.
func TestZeroesAreAllocated(t *testing.T) {
	for _, c := range []struct {
		within time.Duration
		writes int32
	}{{0, int32(testSegment/chunkSize) + 1}, {time.Hour, 2}} { // One is of WAL, to the file that had the name before.
		var writes atomic.Int32
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileWriteAt && strings.HasSuffix(op.Path, preparedName) {
				writes.Add(1)
			}
			return nil
		}))
		s := create(t, Options{FS: fs, AllocateWithin: c.within})
		g := newGenerator()
		g.record(100, 1)
		push(t, s, g) // Makes the first segment, and writes it in full.
		writes.Store(0)
		g.record(int(testSegment)/2, 1)
		push(t, s, g)
		s.background.Wait()
		require.Equal(t, c.writes, writes.Load())
		f, err := fs.Open(s.d.path(preparedName))
		require.NoError(t, err)
		content, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Equal(t, make([]byte, testSegment), content)
		shut(t, s)
	}
}
