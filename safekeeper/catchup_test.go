package safekeeper

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
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
	peer := peerStatus{flush: 100, commit: 90, term: 2, lastLog: 2, history: terms(0, 10, 1, 20, 2, 50)}
	same := terms(0, 10, 1, 20, 2, 50)
	with := func(f func(*peerStatus)) peerStatus { p := peer; f(&p); return p }
	for name, tc := range map[string]struct {
		own    logEnd
		term   wal.Term
		commit wal.LSN
		peer   peerStatus
		want   *lesson
	}{
		"laggard of the same proposer": {
			logEnd{same, 60}, 2, 55, peer, &lesson{term: 2, start: 60, upto: 90, commit: 90},
		},
		"has the bytes, learns the commit": {
			logEnd{same, 100}, 2, 55, peer, &lesson{term: 2, start: 100, upto: 100, commit: 90},
		},
		"slept through a term": {
			logEnd{terms(0, 10, 1, 20), 40}, 1, 40, peer, &lesson{term: 2, start: 40, upto: 90, commit: 90},
		},
		"uncommitted tail of a deposed proposer is cut": {
			logEnd{terms(0, 10, 1, 20), 70}, 1, 40, peer, &lesson{term: 2, start: 50, upto: 90, commit: 90},
		},
		"peer knows less":                    {logEnd{same, 100}, 2, 90, peer, nil},
		"voted for a higher term":            {logEnd{same, 60}, 3, 55, peer, nil},
		"peer is joining":                    {logEnd{same, 60}, 2, 55, with(func(p *peerStatus) { p.joining = true }), nil},
		"would cut below the own commit":     {logEnd{terms(0, 10, 1, 20), 70}, 1, 60, peer, nil},
		"another timeline under the same ID": {logEnd{terms(0, 12), 60}, 0, 12, peer, nil},
		"peer elected, WAL not there yet": {
			logEnd{terms(0, 10, 1, 20), 40}, 1, 40,
			with(func(p *peerStatus) { p.lastLog = 1; p.flush, p.commit = 45, 45 }),
			&lesson{term: 1, start: 40, upto: 45, commit: 45},
		},
	} {
		got, ok := learn(tc.own, tc.term, tc.commit, tc.peer)
		require.Equal(t, tc.want != nil, ok, name)
		if !ok {
			continue
		}
		require.Equal(t, cutAfterTerm(tc.peer.history, tc.peer.lastLog), got.history, name)
		got.history = nil
		require.Equal(t, *tc.want, got, name)
	}
}

func TestTermHistoryText(t *testing.T) {
	h := terms(0, 0x1500000, 4, 0x1600100)
	text := formatTermHistory(h)
	require.Equal(t, "0@0/1500000,4@0/1600100", text)
	got, err := parseTermHistory(text)
	require.NoError(t, err)
	require.Equal(t, h, got)
	for _, bad := range []string{"x", "1", "1@", "1@0/1,1@0/2", "2@0/2,3@0/1", "1@0/1,"} {
		_, err := parseTermHistory(bad)
		require.Error(t, err, bad)
	}
}

func TestParsePeerStatus(t *testing.T) {
	row := map[string]string{
		"flush_lsn": "0/1600188", "commit_lsn": "0/1600180", "oldest_lsn": "0/1000000", "term": "5", "last_log_term": "4",
		"term_history": "0@0/1500000,4@0/1600100", "joining": "f", "writer_age_ms": "-1", "tli": "2",
		"tli_history": "1\t0/1550000\tpromoted\n", "a_new_column": "x",
	}
	p, err := parsePeerStatus(row)
	require.NoError(t, err)
	require.Equal(t, wal.LSN(0x1600180), p.commit)
	require.Equal(t, wal.TLI(2), p.tliHistory.Last)
	require.Negative(t, p.writerAge)
	for column := range row {
		if column == "a_new_column" || column == "joining" || column == "tli_history" || column == "term_history" {
			continue
		}
		broken := map[string]string{}
		for k, v := range row {
			broken[k] = v
		}
		broken[column] = "?"
		_, err := parsePeerStatus(broken)
		require.Error(t, err, column)
	}
}
