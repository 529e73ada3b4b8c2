package consensus

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// A history goes over the wire whole: connections that break before anything was
// written must not make it grow.
func TestTermsWithoutWALDoNotStay(t *testing.T) {
	h := history(0, start)
	for term := wal.Term(1); term <= 1000; term++ {
		h = succeed(h, pushwal.TermLSN{Term: term, LSN: testStart})
	}
	require.Equal(t, history(0, start, 1000, start), h, "the beginning stays")
	h = succeed(h, pushwal.TermLSN{Term: 1001, LSN: testStart + 8})
	require.Equal(t, history(0, start, 1000, start, 1001, start+8), h)
}

// Without the terms that wrote nothing two histories part at the same position
// as with them.
func TestTermsWithoutWALDoNotMatter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	next := wal.Term(0)
	extend := func(h pushwal.TermHistory) pushwal.TermHistory {
		h = slices.Clone(h)
		for range rng.IntN(5) {
			next++
			h = append(h, pushwal.TermLSN{Term: next, LSN: h[len(h)-1].LSN + wal.LSN(rng.IntN(3)*8)})
		}
		return h
	}
	short := func(h pushwal.TermHistory) pushwal.TermHistory {
		out := h[:1]
		for _, e := range h[1:] {
			out = succeed(out, e)
		}
		return out
	}
	dropped := 0
	for range 50_000 {
		next = 0
		trunk := extend(history(0, start))
		s, p := extend(trunk[:1+rng.IntN(len(trunk))]), extend(trunk)
		next++ // the proposer's own term, above all that a node follows
		p = append(p, pushwal.TermLSN{Term: next, LSN: p[len(p)-1].LSN + wal.LSN(rng.IntN(2)*8)})
		flush := testStart + wal.LSN(rng.IntN(12)*8)
		want := commonPoint(p, cutHistory(s, flush), flush)
		require.Equal(t, want, commonPoint(short(p), cutHistory(short(s), flush), flush), "%v and %v, flush %s", p, s, flush)
		dropped += len(p) - len(short(p))
	}
	require.NotZero(t, dropped)
}
