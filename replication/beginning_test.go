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
		a.Start, a.Oldest, a.OldestRecord, a.CommitLSN, a.History = 100, oldest-min(oldest, 40), oldest, commit, h
		a.TLIHistory = wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: 900}}}
		return a
	}
	failed, joining := answer(1900, 2000), answer(1900, 2000)
	failed.Err, joining.Joining = errors.New("no answer"), true
	later := answer(1000, 2000) // who joined later itself, and kept all
	later.Start = 1000
	silent := answer(800, 2000) // of a version that does not say
	silent.OldestRecord = 0
	lost := answer(1900, 2000) // its membership was given up
	member := answer(800, 2000)
	member.Configuration = pushwal.Configuration{Generation: 2, Members: []pushwal.Member{{ID: 1, Host: "a", Port: 1}}}
	member.NodeID = 1
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
		"not committed there": {[]replication.Answer{answer(1800, 1700), answer(800, 2000)}, 800, 3, 1},
		"one does not say":    {[]replication.Answer{silent, answer(1000, 2000)}, 1000, 3, 2},
		"no member":           {[]replication.Answer{lost, member}, 800, 3, 1},
		"at the switch":       {[]replication.Answer{answer(900, 2000)}, 900, 3, 2},
		"that is open":        {[]replication.Answer{answer(900, 900)}, 900, 3, 1},
		"one that came later": {[]replication.Answer{later, answer(100, 2000)}, 1000, 3, 2},
		"who cannot give it":  {[]replication.Answer{failed, joining, answer(800, 2000)}, 800, 3, 1},
	} {
		b, ok := replication.BeginningOf(tc.all)
		require.True(t, ok, name)
		require.Equal(t, tc.start, b.Start, name)
		require.Len(t, b.History, tc.terms, name)
		require.Equal(t, tc.tli, b.TLIHistory.Last, name)
	}
	for _, none := range [][]replication.Answer{{failed, joining}, {silent}, {answer(800, 700)}, nil} {
		_, ok := replication.BeginningOf(none)
		require.False(t, ok)
	}
	require.EqualValues(t, 100, later.Origin())
	require.EqualValues(t, 100, member.Origin())
}
