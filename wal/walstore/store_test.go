package walstore

import (
	"errors"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
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
