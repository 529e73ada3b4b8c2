package safekeeper

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

func TestGapSet(t *testing.T) {
	var saved []gap
	var failure error
	s := newGapSet(nil, func(g []gap) error { saved = g; return failure })
	began, err := s.widen("a:1", 100, 100)
	require.NoError(t, err)
	require.False(t, began, "nothing is missing")
	require.Empty(t, saved)
	began, err = s.widen("a:1", 100, 200)
	require.NoError(t, err)
	require.True(t, began)
	began, err = s.widen("a:1", 200, 300)
	require.NoError(t, err)
	require.False(t, began, "it grows")
	require.EqualValues(t, 200, s.size("a:1"))
	require.Len(t, saved, 1)
	require.EqualValues(t, 300, saved[0].to)
	saved = nil
	_, err = s.widen("a:1", 150, 250)
	require.NoError(t, err)
	require.Nil(t, saved, "nothing new is not written")

	failure = errors.New("disk is full")
	began, err = s.widen("b:1", 1, 2)
	require.ErrorIs(t, err, failure)
	require.True(t, began)
	require.EqualValues(t, 1, s.size("b:1"), "it is known all the same")
	failure = nil

	closed, err := s.fill("a:1", 299)
	require.NoError(t, err)
	require.False(t, closed)
	closed, err = s.fill("a:1", 300)
	require.NoError(t, err)
	require.True(t, closed)
	require.Len(t, saved, 1)
	require.Zero(t, s.size("a:1"))
}

func TestRetentionGivesWayAsFarAsNeeded(t *testing.T) {
	const seg = 1 << 20
	base := retentionInput{
		commit: 100 * seg, flush: 100 * seg, truncate: 100 * seg, oldest: 10 * seg, keepSize: 5 * seg, segment: seg,
		pageservers: []wal.LSN{12 * seg, 90 * seg},
	}
	for name, c := range map[string]struct {
		edit func(*retentionInput)
		want wal.LSN
	}{
		"room":                             {func(*retentionInput) {}, 12 * seg},
		"what they have is enough":         {func(in *retentionInput) { in.need = 2 * seg }, 12 * seg},
		"the dead one gives way":           {func(in *retentionInput) { in.need = 2*seg + 1 }, 13 * seg},
		"so does one that lags":            {func(in *retentionInput) { in.need = 84 * seg }, 94 * seg},
		"wal-keep-size does not":           {func(in *retentionInput) { in.need = 1 << 50 }, 95 * seg},
		"a slot does not":                  {func(in *retentionInput) { in.need, in.slot, in.hasSlot = 1<<50, 20*seg, true }, 20 * seg},
		"what a member needs does not":     {func(in *retentionInput) { in.need, in.truncate = 1<<50, 30*seg }, 30*seg - 1},
		"what is not flushed here neither": {func(in *retentionInput) { in.need, in.flush = 1<<50, 40*seg }, 40 * seg},
		"no pageserver, nothing to give":   {func(in *retentionInput) { in.need, in.pageservers = 1<<50, nil }, 95 * seg},
	} {
		in := base
		c.edit(&in)
		require.Equal(t, c.want, retentionHorizon(in), name)
	}
}

func FuzzGaps(f *testing.F) {
	f.Add(formatGaps([]gap{{"10.0.0.1:64000", 0x1000000, 0x2000000, time.Unix(1700000000, 0).UTC()}, {"[::1]:1", 1, 2, time.Unix(0, 0).UTC()}}))
	f.Add("version 1\ngap a 0/1 0/1 2026-01-01T00:00:00Z\n")
	f.Add("version 2\n")
	f.Fuzz(func(t *testing.T, content string) {
		gaps, err := parseGaps(content)
		if err != nil {
			return
		}
		again, err := parseGaps(formatGaps(gaps))
		require.NoError(t, err)
		require.Len(t, again, len(gaps))
		for i := range gaps {
			require.Equal(t, gaps[i].pageserver, again[i].pageserver)
			require.Equal(t, gaps[i].from, again[i].from)
			require.Less(t, again[i].from, again[i].to)
		}
	})
}

// WAL that a pageserver lacks is removed for a disk that is full, not for one
// whose space cannot be read.
func TestUnreadableSpaceIsNoFullDisk(t *testing.T) {
	d := newDiskProbe(t.TempDir(), 1<<62)
	d.probe()
	require.True(t, d.low())
	require.NotZero(t, d.missing())
	d.dir = "/nonexistent"
	require.Zero(t, d.missing())

	d = newDiskProbe("/nonexistent", 0)
	d.probe()
	ok, _ := d.check()
	require.False(t, ok)
	require.False(t, d.low())
	require.Zero(t, d.missing())
}
