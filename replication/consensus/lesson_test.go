package consensus

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

func TestCommonEnd(t *testing.T) {
	type log struct {
		history pushwal.TermHistory
		end     wal.LSN
	}
	for name, tc := range map[string]struct {
		a, b log
		want wal.LSN
	}{
		"same proposer, other length": {log{history(0, 10, 1, 20), 50}, log{history(0, 10, 1, 20), 90}, 50},
		"other proposer":              {log{history(0, 10, 1, 20), 50}, log{history(0, 10, 2, 30), 90}, 20},
		"ends before the fork":        {log{history(0, 10, 1, 20), 25}, log{history(0, 10, 1, 20, 2, 30), 90}, 25},
		"nothing in common":           {log{history(0, 10), 50}, log{history(0, 11), 50}, 0},
		"empty":                       {log{}, log{history(0, 11), 50}, 0},
	} {
		require.Equal(t, tc.want, commonEnd(tc.a.history, tc.a.end, tc.b.history, tc.b.end), name)
		require.Equal(t, tc.want, commonEnd(tc.b.history, tc.b.end, tc.a.history, tc.a.end), name)
	}
}

func TestLearn(t *testing.T) {
	at := func(h pushwal.TermHistory, flush, commit wal.LSN, term wal.Term) Look {
		return Look{History: h, FlushLSN: flush, CommitLSN: commit, Term: term, TLIHistory: wal.TimelineHistory{Last: 1}}
	}
	same := history(0, 10, 1, 20, 2, 50)
	peer := at(same, 100, 90, 2)
	joining := peer
	joining.Joining = true
	for name, tc := range map[string]struct {
		own, peer Look
		want      *Lesson
	}{
		"laggard of the same proposer":     {at(same, 60, 55, 2), peer, &Lesson{Term: 2, History: same, Start: 60, Upto: 90, Commit: 90}},
		"has the bytes, learns the commit": {at(same, 100, 55, 2), peer, &Lesson{Term: 2, History: same, Start: 100, Upto: 100, Commit: 90}},
		"slept through a term":             {at(history(0, 10, 1, 20), 40, 40, 1), peer, &Lesson{Term: 2, History: same, Start: 40, Upto: 90, Commit: 90}},
		"uncommitted tail of a deposed proposer is cut": {
			at(history(0, 10, 1, 20), 70, 40, 1), peer, &Lesson{Term: 2, History: same, Start: 50, Upto: 90, Commit: 90},
		},
		"peer elected, WAL not there yet": {
			at(history(0, 10, 1, 20), 40, 40, 1), at(same, 45, 45, 2), &Lesson{Term: 1, History: history(0, 10, 1, 20), Start: 40, Upto: 45, Commit: 45},
		},
		"peer knows less":                    {at(same, 100, 90, 2), peer, nil},
		"voted for a higher term":            {at(same, 60, 55, 3), peer, nil},
		"peer is joining":                    {at(same, 60, 55, 2), joining, nil},
		"would cut below the own commit":     {at(history(0, 10, 1, 20), 70, 60, 1), peer, nil},
		"another timeline under the same ID": {at(history(0, 12), 60, 12, 0), peer, nil},
	} {
		got, ok := Learn(tc.own, tc.peer)
		require.Equal(t, tc.want != nil, ok, name)
		if ok {
			tc.want.TLIHistory = wal.TimelineHistory{Last: 1}
			require.Equal(t, *tc.want, got, name)
		}
	}
}
