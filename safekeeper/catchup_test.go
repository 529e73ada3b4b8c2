package safekeeper

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

func terms(entries ...uint64) (h pushwal.TermHistory) {
	for i := 0; i < len(entries); i += 2 {
		h = append(h, pushwal.TermLSN{Term: wal.Term(entries[i]), LSN: wal.LSN(entries[i+1])})
	}
	return h
}

func TestCommonEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		a, b logEnd
		want wal.LSN
	}{
		"same proposer, other length": {logEnd{terms(0, 10, 1, 20), 50}, logEnd{terms(0, 10, 1, 20), 90}, 50},
		"other proposer":              {logEnd{terms(0, 10, 1, 20), 50}, logEnd{terms(0, 10, 2, 30), 90}, 20},
		"ends before the fork":        {logEnd{terms(0, 10, 1, 20), 25}, logEnd{terms(0, 10, 1, 20, 2, 30), 90}, 25},
		"nothing in common":           {logEnd{terms(0, 10), 50}, logEnd{terms(0, 11), 50}, 0},
		"empty":                       {logEnd{}, logEnd{terms(0, 11), 50}, 0},
	} {
		require.Equal(t, tc.want, commonEnd(tc.a, tc.b), name)
		require.Equal(t, tc.want, commonEnd(tc.b, tc.a), name)
	}
}

func TestLearn(t *testing.T) {
	status := func(h pushwal.TermHistory, flush, commit wal.LSN, term wal.Term) replication.Status {
		return replication.Status{
			History: h, FlushLSN: flush, CommitLSN: commit,
			Term: term, LastLogTerm: h[len(h)-1].Term,
		}
	}
	same := terms(0, 10, 1, 20, 2, 50)
	peer := status(same, 100, 90, 2)
	with := func(f func(*replication.Status)) replication.Status { p := peer; f(&p); return p }
	for name, tc := range map[string]struct {
		own, peer replication.Status
		want      *lesson
	}{
		"laggard of the same proposer": {
			status(same, 60, 55, 2), peer, &lesson{term: 2, start: 60, upto: 90, commit: 90},
		},
		"has the bytes, learns the commit": {
			status(same, 100, 55, 2), peer, &lesson{term: 2, start: 100, upto: 100, commit: 90},
		},
		"slept through a term": {
			status(terms(0, 10, 1, 20), 40, 40, 1), peer, &lesson{term: 2, start: 40, upto: 90, commit: 90},
		},
		"uncommitted tail of a deposed proposer is cut": {
			status(terms(0, 10, 1, 20), 70, 40, 1), peer, &lesson{term: 2, start: 50, upto: 90, commit: 90},
		},
		"peer knows less":                    {status(same, 100, 90, 2), peer, nil},
		"voted for a higher term":            {status(same, 60, 55, 3), peer, nil},
		"peer is joining":                    {status(same, 60, 55, 2), with(func(p *replication.Status) { p.Joining = true }), nil},
		"would cut below the own commit":     {status(terms(0, 10, 1, 20), 70, 60, 1), peer, nil},
		"another timeline under the same ID": {status(terms(0, 12), 60, 12, 0), peer, nil},
		"peer elected, WAL not there yet": {
			status(terms(0, 10, 1, 20), 40, 40, 1),
			with(func(p *replication.Status) { p.LastLogTerm, p.FlushLSN, p.CommitLSN = 1, 45, 45 }),
			&lesson{term: 1, start: 40, upto: 45, commit: 45},
		},
	} {
		got, ok := learn(tc.own, tc.peer)
		require.Equal(t, tc.want != nil, ok, name)
		if !ok {
			continue
		}
		require.Equal(t, cutAfterTerm(tc.peer.History, tc.peer.LastLogTerm), got.history, name)
		got.history = nil
		require.Equal(t, *tc.want, got, name)
	}
}
