package operator

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
	"github.com/walhaven/walhaven/wal"
)

// TestUnfillable: a new member whose WAL the others removed before it asked for it.
func TestUnfillable(t *testing.T) {
	const segment = wal.LSN(wal.DefaultSegmentSize)
	answer := func(node pushwal.NodeID, oldest wal.LSN) (a replication.Answer) {
		a.NodeID, a.Incarnation, a.Oldest, a.SegmentSize = node, pushwal.Incarnation{byte(node)}, oldest, wal.DefaultSegmentSize
		return a
	}
	joins := answer(3, 5*segment)
	joins.Joining, joins.Start, joins.FlushLSN = true, 5*segment+100, 5*segment+100
	partly := joins
	partly.FlushLSN = 6*segment + 8
	dead := replication.Answer{Err: errors.New("no answer")}
	want := pushwal.Configuration{Members: []pushwal.Member{{ID: 1, Incarnation: pushwal.Incarnation{1}}, {ID: 3, Incarnation: pushwal.Incarnation{3}}}}
	for name, tc := range map[string]struct {
		answers []replication.Answer
		at      string
	}{
		"all keep it":        {[]replication.Answer{answer(1, 5*segment), answer(2, segment), joins}, ""},
		"one keeps it":       {[]replication.Answer{answer(1, 6*segment), answer(2, 5*segment), joins}, ""},
		"nobody does":        {[]replication.Answer{answer(1, 6*segment), dead, joins}, "c:1 goes on at 0/5000000"},
		"nor what comes now": {[]replication.Answer{answer(1, 7*segment), dead, partly}, "c:1 goes on at 0/6000008"},
		"no wanted node":     {[]replication.Answer{answer(1, 6*segment), answer(3, 6*segment), dead}, ""},
	} {
		m := &Members{view: headless.View{Answers: tc.answers}, at: []string{"a:1", "b:1", "c:1"}}
		if tc.at == "" {
			require.Empty(t, m.unfillable(want), name)
			continue
		}
		require.Contains(t, m.unfillable(want), tc.at, name)
	}
}
