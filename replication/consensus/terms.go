package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// maxTerm bounds terms taken from the wire, so that the next one always exists.
const maxTerm wal.Term = 1 << 62

// cutHistory returns the entries at or below flush: what a history says about
// WAL that is there (R4, equality included).
func cutHistory(h pushwal.TermHistory, flush wal.LSN) pushwal.TermHistory {
	n := len(h)
	for n > 0 && h[n-1].LSN > flush {
		n--
	}
	return h[:n:n]
}

// lastTerm is the last log term of a history that was cut, 0 when it is empty.
func lastTerm(h pushwal.TermHistory) wal.Term {
	if len(h) == 0 {
		return 0
	}
	return h[len(h)-1].Term
}

// succeed returns the history of a term that goes on from a best voter's. It takes
// the place of a last term without WAL, so that histories grow by terms that
// wrote and not by each connection that broke. For the common point with any
// other history it makes no difference: whoever has the term that goes has
// nothing of this history behind its start, nor was anything committed there.
func succeed(h pushwal.TermHistory, next pushwal.TermLSN) pushwal.TermHistory {
	n := len(h)
	if n > 1 && h[n-1].LSN == next.LSN {
		n--
	}
	return append(slices.Clone(h[:n]), next)
}

// checkTerms refuses two histories that let one term start at two positions
// (R8): only one proposer can have won it.
func checkTerms(a, b pushwal.TermHistory) error {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i].Term < b[j].Term:
			i++
		case a[i].Term > b[j].Term:
			j++
		case a[i].LSN != b[j].LSN:
			return errf(ErrHistory, "term %d starts at %s in one history and at %s in the other", a[i].Term, a[i].LSN, b[j].LSN).
				term(a[i].Term).at(a[i].LSN)
		default:
			i, j = i+1, j+1
		}
	}
	return nil
}

// commonPoint returns the highest position up to which the WAL of a proposer
// with history p and that of an acceptor with the cut history s and the end
// flush are the same (safekeeper-wire 3.5). p is not empty.
func commonPoint(p, s pushwal.TermHistory, flush wal.LSN) wal.LSN {
	i := 0
	for i < len(p) && i < len(s) && p[i] == s[i] {
		i++
	}
	switch {
	case i == 0:
		return p[0].LSN // nothing in common: from the very beginning
	case i == len(p):
		return flush // the acceptor follows this very proposer
	case i < len(s):
		return min(p[i].LSN, s[i].LSN)
	}
	return min(p[i].LSN, flush)
}
