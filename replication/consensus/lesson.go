package consensus

import (
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// Lesson is what a member may take over from a peer when no writer is heard. It
// is taken by repeating to the own acceptor what the proposer of Term would say:
// ProposerElected, appends with bytes from the peer, the commit position. The
// acceptor's ordinary rules judge them.
type Lesson struct {
	// Term and History are those of the last proposer whose WAL the peer holds.
	Term       wal.Term
	History    pushwal.TermHistory
	TLIHistory wal.TimelineHistory // PostgreSQL's, the peer's: that of the proposer
	// Start is where this member's log goes on; it is cut there if it is longer.
	Start wal.LSN
	// Upto is the end of the bytes to take over, the peer's commit position.
	Upto wal.LSN
	// Commit is the commit position after that.
	Commit wal.LSN
}

// Learn compares this member with a peer and returns what to take over, or
// false when there is nothing or when it would not be safe:
//
//   - only committed bytes are taken, and nothing is ever cut below the own
//     commit position;
//   - the own log must not hold a divergent tail that a vote may have counted:
//     if the own term is above the peer's last log term, an election is under way
//     or died half way, and only a proposer can settle it (C11).
//
// Looks may be old: what changed since then the own acceptor notices, and what
// was committed stays so.
func Learn(own, peer Look) (Lesson, bool) {
	have, theirs := cutHistory(own.History, own.FlushLSN), cutHistory(peer.History, peer.FlushLSN)
	if peer.Joining || peer.CommitLSN <= own.CommitLSN || lastTerm(theirs) < own.Term || len(theirs) == 0 {
		return Lesson{}, false
	}
	common := commonEnd(theirs, peer.FlushLSN, have, own.FlushLSN)
	if common < own.CommitLSN {
		return Lesson{}, false
	}
	l := Lesson{Term: lastTerm(theirs), History: theirs, TLIHistory: peer.TLIHistory, Start: common, Commit: peer.CommitLSN}
	if n := len(have); n > 0 && have[n-1] == theirs[len(theirs)-1] {
		l.Start = own.FlushLSN // the same proposer wrote both: the longer tail is good
	}
	l.Upto = max(l.Commit, l.Start)
	return l, true
}

// commonEnd returns the position up to which two logs were written by the same
// proposers, and so hold the same bytes; 0 when they share no term. Histories
// are cut at the logs' ends.
func commonEnd(a pushwal.TermHistory, endA wal.LSN, b pushwal.TermHistory, endB wal.LSN) wal.LSN {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	if i == 0 {
		return 0
	}
	if i < len(a) {
		endA = a[i].LSN
	}
	if i < len(b) {
		endB = b[i].LSN
	}
	return min(endA, endB)
}
