package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRatiosAreOfOneRound: the machine got twice as fast in the second round,
// which must not show.
func TestRatiosAreOfOneRound(t *testing.T) {
	var s sides
	s.add(50, 100)
	s.add(110, 200)
	require.Equal(t, "80 | 150 | 0.53 (0.50-0.55)", s.String())
}

// What is pushed is WAL that a safekeeper takes: whole records from the first
// one's start to the last one's end.
func TestMadeWALIsWellFormed(t *testing.T) {
	b, first, end := makeWAL(1 << 20)
	s := walrecord.NewScanner(walrecord.ScannerOptions{Start: first, SegmentSize: wal.DefaultSegmentSize, PGVersion: major})
	require.NoError(t, s.Feed(first, b.Bytes()[first-b.Start():]))
	require.Equal(t, end, s.RecordEnd())
	b, first, ends := smallWAL(1000)
	s = walrecord.NewScanner(walrecord.ScannerOptions{Start: first, SegmentSize: wal.DefaultSegmentSize, PGVersion: major})
	for _, end := range ends {
		require.NoError(t, s.Feed(s.Position(), b.Bytes()[s.Position()-b.Start():end-b.Start()]))
		require.Equal(t, end, s.RecordEnd())
	}
}

func TestRateOfWhatFioPrints(t *testing.T) {
	rate, err := fioRate([]byte("fio: a note\n" + `{"jobs": [{"write": {"io_bytes": 536870912, "runtime": 500}}]}`))
	require.NoError(t, err)
	require.InDelta(t, 1073.7, rate, 0.1)
	for _, bad := range []string{"", "{}", `{"jobs": [{"write": {"io_bytes": 1, "runtime": 0}}]}`} {
		_, err := fioRate([]byte(bad))
		require.Error(t, err, bad)
	}
}
