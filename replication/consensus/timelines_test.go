package consensus

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/walhaven/walhaven/wal"
)

// drawHistory draws a PostgreSQL history with switches below 12.
func drawHistory(t *rapid.T, label string) wal.TimelineHistory {
	n := rapid.IntRange(0, 3).Draw(t, label)
	h := wal.TimelineHistory{}
	var at wal.LSN
	for range n {
		h.Last += wal.TLI(rapid.IntRange(1, 2).Draw(t, "tli"))
		at += wal.LSN(rapid.IntRange(0, 4).Draw(t, "length"))
		h.Ancestors = append(h.Ancestors, wal.HistoryEntry{TLI: h.Last, Switch: at})
	}
	h.Last += wal.TLI(rapid.IntRange(1, 2).Draw(t, "tli"))
	return h
}

// TestAgreeUpto compares with asking for each byte.
func TestAgreeUpto(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawHistory(t, "a"), drawHistory(t, "b")
		want := everywhere
		for l := range wal.LSN(20) {
			if a.TLIAt(l) != b.TLIAt(l) {
				want = l
				break
			}
		}
		if got := agreeUpto(a, b); got != want {
			t.Fatalf("%v and %v agree up to %s, want %s", a, b, got, want)
		}
	})
}

// TestCheckTimelines compares with looking at each pair of lines.
func TestCheckTimelines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawHistory(t, "a"), drawHistory(t, "b")
		same := true
		for tli := wal.TLI(1); tli < 10; tli++ {
			x, inA := a.Begin(tli)
			y, inB := b.Begin(tli)
			same = same && !(inA && inB && x != y)
		}
		if err := checkTimelines(a, b); (err == nil) != same {
			t.Fatalf("%v and %v: %v, want same = %t", a, b, err, same)
		}
	})
	require.Nil(t, checkTimelines(wal.TimelineHistory{}, wal.TimelineHistory{Last: 1}), "a history that was not sent is the first timeline")
}

// TestCommonPointIsTheLongestCommonPrefix compares with logs of single bytes
// that each know their term.
func TestCommonPointIsTheLongestCommonPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const origin = 3
		// A log is the terms of its bytes from origin on. Logs of one world agree on
		// where a term starts.
		type log []wal.Term
		starts := map[wal.Term]log{0: nil} // the log in front of each term's start
		var logs []log
		for term := wal.Term(1); term <= 4; term++ {
			from := wal.Term(rapid.IntRange(0, int(term)-1).Draw(t, "after"))
			extra := rapid.IntRange(0, 3).Draw(t, "bytes of it")
			l := slices.Clone(starts[from])
			if from > 0 {
				for range extra {
					l = append(l, from)
				}
			}
			starts[term] = l
			logs = append(logs, append(slices.Clone(l), slices.Repeat([]wal.Term{term}, rapid.IntRange(1, 3).Draw(t, "own"))...))
		}
		p, s := logs[3], logs[rapid.IntRange(0, 2).Draw(t, "acceptor")]
		s = s[:rapid.IntRange(0, len(s)).Draw(t, "length")]
		common := 0
		for common < len(p) && common < len(s) && p[common] == s[common] {
			common++
		}
		toHistory := func(l log) (h []uint64) {
			h = []uint64{0, origin}
			for i, term := range l {
				if i == 0 || l[i-1] != term {
					h = append(h, uint64(term), uint64(origin+i))
				}
			}
			return h
		}
		hp, hs := history(toHistory(p)...), history(toHistory(s)...)
		flush := wal.LSN(origin + len(s))
		if got := commonPoint(hp, cutHistory(hs, flush), flush); got != wal.LSN(origin+common) {
			t.Fatalf("proposer %v, acceptor %v: common point %s, want %d", p, s, got, origin+common)
		}
	})
}
