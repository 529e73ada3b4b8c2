package replication

import (
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// Beginning is where a joining node begins with a timeline: at the timeline's own first
// record, or, where the members have removed that WAL, at the first that they keep.
type Beginning struct {
	Start      wal.LSN
	History    pushwal.TermHistory // of the WAL below Start; nil when there is none
	TLIHistory wal.TimelineHistory // PostgreSQL's, at Start
}

// BeginningOf returns where a node begins that joins those who answer. All of them can
// fill it: it is the latest of their beginnings that is committed.
func BeginningOf(all []Answer) (b Beginning, ok bool) {
	for _, a := range all {
		if a.Err != nil || a.Joining {
			continue
		}
		if own := a.Beginning(); !ok || own.Start > b.Start {
			b, ok = own, true
		}
	}
	return b, ok
}

// Beginning is where a node begins that this one alone would fill.
func (s Status) Beginning() Beginning {
	b := Beginning{Start: s.Start}
	if s.OldestRecord > s.Start && s.OldestRecord <= s.CommitLSN {
		b.Start = s.OldestRecord
	}
	for _, e := range s.History {
		if e.LSN <= b.Start {
			b.History = append(b.History, e)
		}
	}
	if len(b.History) > 0 && b.History[0].LSN == b.Start {
		b.History = nil // the timeline begins here
	}
	b.TLIHistory = s.TLIHistory
	if part, ok := s.TLIHistory.Upto(s.TLIHistory.TLIAt(b.Start)); ok {
		b.TLIHistory = part
	}
	return b
}

// FormatTermHistory writes what ParseTermHistory reads: "term@LSN,term@LSN".
func FormatTermHistory(h pushwal.TermHistory) string { return formatTermHistory(h) }

// ParseTermHistory reads the column term_history of TIMELINE_STATUS.
func ParseTermHistory(text string) (pushwal.TermHistory, error) { return parseTermHistory(text) }
