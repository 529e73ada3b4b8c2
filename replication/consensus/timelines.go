package consensus

import (
	"math"

	"github.com/walhaven/walhaven/wal"
)

// everywhere is the agreement of two equal PostgreSQL histories.
const everywhere = wal.LSN(math.MaxUint64)

// known gives a history that was not sent its meaning: the first timeline, the
// only one Neon's side knows.
func known(h wal.TimelineHistory) wal.TimelineHistory {
	if h.Last == 0 {
		h.Last = 1
	}
	return h
}

// span is a timeline that owns bytes, from its first one on.
type span struct {
	tli   wal.TLI
	begin wal.LSN
}

// spans lists the timelines of h that own bytes. One that ended where it began
// owns none.
func spans(h wal.TimelineHistory) []span {
	out := make([]span, 0, len(h.Ancestors)+1)
	var begin wal.LSN
	for _, e := range h.Ancestors {
		if e.Switch > begin {
			out = append(out, span{e.TLI, begin})
		}
		begin = e.Switch
	}
	return append(out, span{h.Last, begin})
}

// AgreeUpto returns the position below which both histories put every byte on
// the same timeline, the highest that there is when they are the same.
func AgreeUpto(a, b wal.TimelineHistory) wal.LSN { return agreeUpto(a, b) }

func agreeUpto(a, b wal.TimelineHistory) wal.LSN {
	x, y := spans(known(a)), spans(known(b))
	for i := 0; i < len(x) || i < len(y); i++ {
		switch {
		case i >= len(x):
			return y[i].begin
		case i >= len(y):
			return x[i].begin
		case x[i] != y[i]:
			return min(x[i].begin, y[i].begin)
		}
	}
	return everywhere
}

// checkTimelines refuses a second history that gives a timeline of the first
// another beginning: two servers were promoted under one number, and files and
// page headers could not tell their bytes apart.
func checkTimelines(have, want wal.TimelineHistory) *Error {
	have, want = known(have), known(want)
	for i := 0; i <= len(want.Ancestors); i++ {
		tli := want.Last
		if i < len(want.Ancestors) {
			tli = want.Ancestors[i].TLI
		}
		w, _ := want.Begin(tli)
		if h, ok := have.Begin(tli); ok && h != w {
			return errf(ErrPromotedTwice, "two servers were promoted to timeline %d: the one that is known here began it at %s, the other at %s", tli, h, w).at(min(h, w))
		}
	}
	return nil
}
