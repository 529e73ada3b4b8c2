package walstore

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// A prefix that stopped half-way is thrown away and sent again.
func TestPrefixAgain(t *testing.T) {
	o := Options{FS: vfs.NewMem()}
	s, err := Create(testDir, testControl(), o)
	require.NoError(t, err)
	prefix, err := synthesize(testControl())
	require.NoError(t, err)
	first := testSegment.SegmentStart(testStart)
	half := first + 10_000
	for range 2 {
		require.NoError(t, s.Append(1, first, prefix[:10_000]))
		require.NoError(t, s.Sync())
		require.Equal(t, Positions{half, first, half, first}, s.Positions())
		require.ErrorIs(t, s.SynthesizePrefix(), ErrOverlap)
		require.NoError(t, s.Truncate(first, wal.TimelineHistory{Last: 1}))
		require.Equal(t, Positions{first, first, first, first}, s.Positions())
		require.NoError(t, s.Append(1, first, prefix[:10_000]))
		shut(t, s)
		s = open(t, o)
		require.Equal(t, first, s.Positions().Write, "the rest cannot be told from what was not written")
	}
	g := newGenerator()
	g.record(100, 1)
	_, b := g.take()
	require.NoError(t, s.Append(1, first, append(prefix, b...)))
	require.NoError(t, s.Sync())
	require.NoError(t, s.Truncate(testStart, wal.TimelineHistory{Last: 1}))
	require.Equal(t, Positions{testStart, testStart, testStart, testStart}, s.Positions())
	shut(t, s)
	s = open(t, o)
	require.Equal(t, testStart, s.Positions().Write)
	require.NoError(t, s.Append(1, testStart, b))
	require.NoError(t, s.Truncate(first, twoTimelines(first+5)), "an empty store takes any history")
	shut(t, s)
}

// A timeline may start at the first byte of a segment.
func TestStartAtSegmentStart(t *testing.T) {
	o := Options{FS: vfs.NewMem()}
	c := testControl()
	c.Start = 7 << 20
	s, err := Create(testDir, c, o)
	require.NoError(t, err)
	require.NoError(t, s.SynthesizePrefix(), "nothing to do")
	g := &generator{tli: 1, pos: c.Start, prev: c.Start - 200}
	for range 30 {
		g.record(100_000, 1)
		push(t, s, g)
		require.NoError(t, s.Sync())
	}
	require.NoError(t, s.SaveControl(nil))
	shut(t, s)
	s = open(t, o)
	require.Equal(t, g.pos, s.Positions().FlushRecord)
	require.NoError(t, s.Truncate(c.Start, wal.TimelineHistory{Last: 1}))
	require.Equal(t, c.Start, s.Positions().Write)
	shut(t, s)
}

// The switch to the newest timeline may lie in front of the start, in the same
// segment; and a later one may be adopted without a truncation.
func TestTimelinesAroundTheStart(t *testing.T) {
	o := Options{FS: vfs.NewMem()}
	c := testControl()
	sw := testSegment.SegmentStart(testStart) + 9000&^7
	c.History = wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: sw}}}
	s, err := Create(testDir, c, o)
	require.NoError(t, err)
	require.NoError(t, s.SynthesizePrefix())
	g := newGenerator()
	g.tli = 2
	g.record(30_000, 1)
	push(t, s, g)
	require.NoError(t, s.Sync())
	for _, name := range []string{"000000010000000000000005.partial", "000000020000000000000005.partial", "00000002.history"} {
		there, err := s.d.exists(name)
		require.NoError(t, err)
		require.True(t, there, name)
	}
	next := c.History
	next.Ancestors = append(next.Ancestors, wal.HistoryEntry{TLI: 2, Switch: g.pos})
	next.Last = 3
	require.NoError(t, s.SaveControl(func(c *Control) { c.History = next }))
	g.tli = 3
	g.record(2_000_000, 1)
	push(t, s, g)
	require.NoError(t, s.Sync())
	all := stored(t, s)
	shut(t, s)
	s = open(t, o)
	require.Equal(t, g.pos, s.Positions().FlushRecord)
	require.Equal(t, all, stored(t, s))
	shut(t, s)
}
