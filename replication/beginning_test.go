package replication_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// TestBeginning: a joining node begins where all who answer can fill it from.
func TestBeginning(t *testing.T) {
	h := pushwal.TermHistory{{Term: 0, LSN: 100}, {Term: 1, LSN: 100}, {Term: 4, LSN: 700}, {Term: 9, LSN: 1500}}
	answer := func(oldest, commit wal.LSN) replication.Answer {
		var a replication.Answer
		a.Start, a.OldestRecord, a.CommitLSN, a.History = 100, oldest, commit, h
		a.TLIHistory = wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: 900}}}
		return a
	}
	failed, joining := answer(1900, 2000), answer(1900, 2000)
	failed.Err, joining.Joining = errors.New("no answer"), true
	later := answer(1000, 2000) // who joined later itself, and kept all
	later.Start = 1000
	for name, tc := range map[string]struct {
		all   []replication.Answer
		start wal.LSN
		terms int
		tli   wal.TLI
	}{
		"nothing removed":     {[]replication.Answer{answer(100, 2000), answer(100, 2000)}, 100, 0, 1},
		"an older safekeeper": {[]replication.Answer{answer(0, 2000)}, 100, 0, 1},
		"removed everywhere":  {[]replication.Answer{answer(800, 2000), answer(800, 2000)}, 800, 3, 1},
		"more on one":         {[]replication.Answer{answer(800, 2000), answer(1600, 2000)}, 1600, 4, 2},
		"and on the first":    {[]replication.Answer{answer(1600, 2000), answer(800, 2000)}, 1600, 4, 2},
		"not committed there": {[]replication.Answer{answer(800, 700)}, 100, 0, 1},
		"one that came later": {[]replication.Answer{later, answer(100, 2000)}, 1000, 3, 2},
		"who cannot give it":  {[]replication.Answer{failed, joining, answer(800, 2000)}, 800, 3, 1},
	} {
		b, ok := replication.BeginningOf(tc.all)
		require.True(t, ok, name)
		require.Equal(t, tc.start, b.Start, name)
		require.Len(t, b.History, tc.terms, name)
		require.Equal(t, tc.tli, b.TLIHistory.Last, name)
	}
	_, ok := replication.BeginningOf([]replication.Answer{failed, joining})
	require.False(t, ok)
}
