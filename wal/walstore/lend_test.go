package walstore

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/wal"
)

// lendStore is a store on disk with n records in several segments.
func lendStore(t *testing.T, n int) (*Store, *generator) {
	s, err := Create(t.TempDir()+"/timeline", testControl(), Options{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.SynthesizePrefix())
	g := newGenerator()
	for i := range n {
		g.record(500_000, byte(i))
		push(t, s, g)
	}
	require.NoError(t, s.Sync())
	return s, g
}

// requireSameAsRead compares what is lent with what is read.
func requireSameAsRead(t *testing.T, s *Store, at wal.LSN, n int) {
	t.Helper()
	want, got := make([]byte, n), make([]byte, n)
	_, err := s.ReadAt(want, at)
	require.NoError(t, err)
	l, ok := s.Lend(at, n)
	require.True(t, ok)
	defer l.Release()
	_, err = l.ReadAt(got, l.Offset())
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NotEqual(t, vfs.InvalidFd, l.Fd())
}

func TestLentIsWhatIsRead(t *testing.T) {
	s, g := lendStore(t, 10)
	first := testSegment.SegmentStart(testStart)
	next := first + wal.LSN(testSegment)
	requireSameAsRead(t, s, first, int(testSegment))
	requireSameAsRead(t, s, next+777, 100_000)
	requireSameAsRead(t, s, g.pos-8, 8)
	for _, c := range []struct {
		at wal.LSN
		n  int
	}{{next - 8, 16}, {g.pos - 8, 9}, {g.pos, 1}, {g.pos + 1<<30, 1}, {first - 1, 1}, {next, 0}, {next, -1}} {
		_, ok := s.Lend(c.at, c.n)
		require.False(t, ok, "%d bytes at %s", c.n, c.at)
	}
	alloctest.None(t, 100, func() {
		l, ok := s.Lend(next, 1000)
		if !ok {
			panic("not lent")
		}
		l.Release()
	})
}

// A segment that is removed can be read by whoever had borrowed it, by nobody else,
// and is closed when it is given back.
func TestLentOutlivesItsRemoval(t *testing.T) {
	s, g := lendStore(t, 10)
	first := s.Oldest()
	want := make([]byte, 100_000)
	_, err := s.ReadAt(want, first)
	require.NoError(t, err)
	l, ok := s.Lend(first, len(want))
	require.True(t, ok)
	removed, err := s.RemoveBefore(g.pos)
	require.NoError(t, err)
	require.NotZero(t, removed)
	_, ok = s.Lend(first, 8)
	require.False(t, ok)
	_, err = s.ReadAt(want[:8], first)
	require.ErrorIs(t, err, ErrRemoved)
	got := make([]byte, len(want))
	_, err = l.ReadAt(got, l.Offset())
	require.NoError(t, err)
	require.Equal(t, want, got)
	l.Release()
	_, err = l.ReadAt(got, l.Offset())
	require.Error(t, err, "the file is closed")
}

// Bytes on both sides of a switch of timeline are in two files.
func TestLentIsOfOneTimeline(t *testing.T) {
	s, g := lendStore(t, 1)
	sw := g.pos
	h := twoTimelines(sw)
	require.NoError(t, s.Truncate(sw, h))
	require.NoError(t, s.SaveControl(func(c *Control) { c.History = h }))
	next := &generator{tli: 2, pos: sw, prev: g.prev}
	next.record(60_000, 3)
	push(t, s, next)
	requireSameAsRead(t, s, sw-100, 100)
	requireSameAsRead(t, s, sw, 1000)
	_, ok := s.Lend(sw-100, 101)
	require.False(t, ok)
}

func TestNothingIsLentFromMemory(t *testing.T) {
	s := create(t, Options{FS: vfs.NewMem()})
	g := newGenerator()
	g.record(1000, 1)
	push(t, s, g)
	_, ok := s.Lend(testStart, 100)
	require.False(t, ok)
	for _, h := range s.files.open {
		require.LessOrEqual(t, h.refs, 1, "the writer's alone")
	}
	shut(t, s)
	_, ok = s.Lend(testStart, 100)
	require.False(t, ok, "closed")
}
