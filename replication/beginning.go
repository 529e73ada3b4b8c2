package replication

import (
	"errors"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// Beginning is where a joining node begins with a timeline: at the timeline's own first
// record, or, where the members have removed that WAL, at the first that they keep.
type Beginning struct {
	Start      wal.LSN
	History    pushwal.TermHistory // of the WAL below Start; nil when there is none
	TLIHistory wal.TimelineHistory // PostgreSQL's, at Start
}

// ErrNoBeginning says that a node cannot join now.
var ErrNoBeginning = errors.New("the members have removed the timeline's first WAL, and none of them says at which committed record its own begins now: " +
	"they are of an older version, or a record of more than a segment has not ended")

// BeginningOf returns where a node begins that joins those who answer. All the members
// among them that say where their WAL begins can fill it: it is the latest of their
// beginnings. It is false when none says so. Who is no member, or one of another
// generation, is not asked: what such a one takes for committed may have been given up.
func BeginningOf(all []Answer) (b Beginning, ok bool) {
	var from []Answer
	var looks []consensus.Look
	for i, a := range all {
		if a.Err == nil {
			from, looks = append(from, a), append(looks, a.Look(i))
		}
	}
	_, counts, err := consensus.Believe(looks)
	if err != nil {
		return b, false
	}
	for i, a := range from {
		if !counts[i] {
			continue
		}
		if own, known := a.Beginning(); known && (!ok || own.Start > b.Start) {
			b, ok = own, true
		}
	}
	return b, ok
}

// Beginning is where a node begins that this one alone would fill. It is false when the
// record that its WAL begins with has not ended, or is not committed, and when an older
// safekeeper does not say.
func (s Status) Beginning() (b Beginning, ok bool) {
	b.Start = s.Start
	if s.Oldest > s.Start {
		if s.OldestRecord <= s.Start || s.OldestRecord > s.CommitLSN {
			return b, false
		}
		b.Start = s.OldestRecord
	}
	b.History, b.TLIHistory = consensus.BeginAt(b.Start, s.CommitLSN, s.History, s.TLIHistory)
	return b, true
}

// Origin is where the timeline itself begins. Start is later on a member that came when
// the WAL below had been removed.
func (s Status) Origin() wal.LSN {
	if len(s.History) > 0 {
		return min(s.Start, s.History[0].LSN)
	}
	return s.Start
}
