package safekeeper

import (
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// logEnd is a log as two members compare it: what wrote it, and where it ends.
type logEnd struct {
	history pushwal.TermHistory
	flush   wal.LSN
}

// commonEnd returns the position up to which both logs were written by the same
// proposers, and so hold the same bytes; 0 when they share no term. It is the
// rule by which a proposer finds where an acceptor's log parts from its own.
func commonEnd(a, b logEnd) wal.LSN {
	i := 0
	for i < len(a.history) && i < len(b.history) && a.history[i] == b.history[i] {
		i++
	}
	if i == 0 {
		return 0
	}
	return min(endOfTerm(a, i), endOfTerm(b, i))
}

// endOfTerm is where the i-th term began, or where the log ends before that.
func endOfTerm(l logEnd, i int) wal.LSN {
	if i < len(l.history) {
		return min(l.history[i].LSN, l.flush)
	}
	return l.flush
}

// lesson is what a member may take over from a peer when no writer is heard.
type lesson struct {
	// term and history are the peer's: this member goes on as if the proposer of
	// that term had spoken to it.
	term    wal.Term
	history pushwal.TermHistory
	// tliHistory is PostgreSQL's, the peer's as well.
	tliHistory wal.TimelineHistory
	// start is where this member's log goes on; it is cut there if it is longer.
	start wal.LSN
	// upto is the end of the bytes to take over, the peer's commit position.
	upto wal.LSN
	// commit is the commit position after that.
	commit wal.LSN
}

// learn compares this member with a peer and returns what to take over, or
// false when there is nothing or when it would not be safe:
//
//   - only committed bytes are taken (upto = the peer's commit position), and
//     nothing is ever cut below the own commit position;
//   - the own log must not hold a divergent tail that a vote may have counted:
//     if our term is above the peer's last log term, an election is under way or
//     died half way, and only a proposer can settle it.
func learn(own, peer replication.Status) (lesson, bool) {
	if peer.Joining || peer.CommitLSN <= own.CommitLSN || peer.LastLogTerm < own.Term || len(peer.History) == 0 {
		return lesson{}, false
	}
	history := cutAfterTerm(peer.History, peer.LastLogTerm)
	common := commonEnd(logEnd{own.History, own.FlushLSN}, logEnd{history, peer.FlushLSN})
	if common < own.CommitLSN {
		return lesson{}, false
	}
	l := lesson{
		term: peer.LastLogTerm, history: history, tliHistory: peer.TLIHistory,
		start: common, commit: peer.CommitLSN,
	}
	if follows(own.History, history) {
		l.start = own.FlushLSN // the same proposer wrote both: the longer tail is good
	}
	l.upto = max(l.commit, l.start)
	return l, true
}

// cutAfterTerm drops the entries above term: a proposer was elected there whose
// WAL the peer does not hold yet.
func cutAfterTerm(h pushwal.TermHistory, term wal.Term) pushwal.TermHistory {
	for i, e := range h {
		if e.Term > term {
			return h[:i]
		}
	}
	return h
}

// follows says whether the last proposer in h is also the last one in own.
func follows(own, h pushwal.TermHistory) bool {
	return len(own) > 0 && len(h) > 0 && own[len(own)-1] == h[len(h)-1]
}
