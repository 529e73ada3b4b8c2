package walstore

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// TestOldestRecord: the first record that a node which takes this WAL over can begin at.
func TestOldestRecord(t *testing.T) {
	o := Options{FS: vfs.NewMem()}
	s := create(t, o)
	g := newGenerator()
	g.record(100, 1)
	_, first := g.switchSegment() // a segment that begins with a record
	_, behind := g.record(100, 2)
	for g.pos < first+wal.LSN(testSegment) {
		_, behind = g.record(90_000, 3) // the last one ends in the next segment
	}
	g.switchSegment()
	long, end := g.record(3*int(testSegment)-200, 4) // continued on all pages of two segments
	g.record(100, 5)
	push(t, s, g)
	require.NoError(t, s.Sync())
	require.Equal(t, testStart, s.OldestRecord(), "nothing was removed")

	at := func(to wal.LSN) wal.LSN {
		t.Helper()
		_, err := s.RemoveBefore(to)
		require.NoError(t, err)
		require.Equal(t, testSegment.SegmentStart(to), s.Oldest())
		return s.OldestRecord()
	}
	require.Equal(t, first+walrecord.LongPageHeaderSize, at(first))
	require.Equal(t, behind, at(behind))
	require.Equal(t, long, at(long))
	require.Equal(t, end, at(long+wal.LSN(testSegment)), "the long one's rest is in the way")
	shut(t, s)
	s = open(t, o)
	defer shut(t, s)
	require.Equal(t, end, s.OldestRecord())
}

// TestOldestRecordHasNotEnded: a record that the oldest segment is in the middle of.
func TestOldestRecordHasNotEnded(t *testing.T) {
	s := create(t, Options{FS: vfs.NewMem()})
	defer shut(t, s)
	g := newGenerator()
	start, end := g.record(3*int(testSegment), 1)
	at, b := g.take()
	part := int(start-at) + 2*int(testSegment)
	require.NoError(t, s.Append(1, at, b[:part]))
	require.NoError(t, s.Sync())
	// Nothing of it is committed, so that retention would not do this.
	s.mu.Lock()
	s.removedBelow = testSegment.SegmentStart(start) + wal.LSN(testSegment)
	s.mu.Unlock()
	require.Zero(t, s.OldestRecord())
	require.NoError(t, s.Append(1, at+wal.LSN(part), b[part:]))
	require.Equal(t, end, s.OldestRecord())

	// What is written in place of a record that was cut is looked at anew.
	require.NoError(t, s.Sync())
	s.mu.Lock()
	s.removedBelow = 0
	s.mu.Unlock()
	require.NoError(t, s.Truncate(start, wal.TimelineHistory{Last: 1}))
	g = &generator{tli: 1, pos: start, prev: testStart - 64}
	_, other := g.record(2*int(testSegment), 2)
	push(t, s, g)
	s.mu.Lock()
	s.removedBelow = testSegment.SegmentStart(start) + wal.LSN(testSegment)
	s.mu.Unlock()
	require.Equal(t, other, s.OldestRecord())
	s.mu.Lock()
	s.removedBelow = 0
	s.mu.Unlock()
}
