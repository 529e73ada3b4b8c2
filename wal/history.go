package wal

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// HistoryEntry is one line of a timeline history file: the ancestor TLI ends
// at Switch, where its child begins.
type HistoryEntry struct {
	TLI    TLI
	Switch LSN
	Reason string // free text, without tab or newline
}

// TimelineHistory is the ancestry of one PostgreSQL timeline, as in its
// history file (src/backend/access/transam/timeline.c).
//
// Guarantees of a valid history:
//  1. Ancestors are in rising order of TLI, all below Last.
//  2. Switch positions never fall.
//  3. Last is at least 1.
type TimelineHistory struct {
	Last      TLI // the timeline that the history belongs to
	Ancestors []HistoryEntry
}

// Valid says whether the guarantees hold.
func (h TimelineHistory) Valid() bool {
	var prev HistoryEntry
	for _, e := range h.Ancestors {
		if e.TLI <= prev.TLI || e.Switch < prev.Switch {
			return false
		}
		prev = e
	}
	return h.Last >= 1 && prev.TLI < h.Last
}

// TLIAt returns the timeline that the byte at l belongs to: the newest one that
// began at or below l.
func (h TimelineHistory) TLIAt(l LSN) TLI {
	for _, e := range h.Ancestors {
		if l < e.Switch {
			return e.TLI
		}
	}
	return h.Last
}

// Begin returns the position at which tli began, 0 for the first timeline, and
// whether tli is part of the history.
func (h TimelineHistory) Begin(tli TLI) (LSN, bool) {
	var begin LSN
	for _, e := range h.Ancestors {
		if e.TLI == tli {
			return begin, true
		}
		begin = e.Switch
	}
	return begin, tli == h.Last
}

// SwitchPoint returns where tli ended and which timeline follows; ok is false
// for the last timeline and for one that is not in the history.
func (h TimelineHistory) SwitchPoint(tli TLI) (end LSN, next TLI, ok bool) {
	for i, e := range h.Ancestors {
		if e.TLI != tli {
			continue
		}
		if i+1 < len(h.Ancestors) {
			return e.Switch, h.Ancestors[i+1].TLI, true
		}
		return e.Switch, h.Last, true
	}
	return 0, 0, false
}

// Upto returns the history of the ancestor tli, itself a prefix of h, and
// whether tli is part of h.
func (h TimelineHistory) Upto(tli TLI) (TimelineHistory, bool) {
	if tli == h.Last {
		return h, true
	}
	for i, e := range h.Ancestors {
		if e.TLI == tli {
			return TimelineHistory{Last: tli, Ancestors: h.Ancestors[:i:i]}, true
		}
	}
	return TimelineHistory{}, false
}

// Equal compares timelines and switch positions; reasons are commentary.
func (h TimelineHistory) Equal(o TimelineHistory) bool {
	if h.Last != o.Last || len(h.Ancestors) != len(o.Ancestors) {
		return false
	}
	for i, e := range h.Ancestors {
		if e.TLI != o.Ancestors[i].TLI || e.Switch != o.Ancestors[i].Switch {
			return false
		}
	}
	return true
}

// WithReasons returns h with the reasons that o knows for the same switches,
// where h has none. h is not changed.
func (h TimelineHistory) WithReasons(o TimelineHistory) TimelineHistory {
	known := make(map[HistoryEntry]string, len(o.Ancestors))
	for _, e := range o.Ancestors {
		known[HistoryEntry{TLI: e.TLI, Switch: e.Switch}] = e.Reason
	}
	h.Ancestors = slices.Clone(h.Ancestors)
	for i, e := range h.Ancestors {
		if e.Reason == "" {
			h.Ancestors[i].Reason = known[e]
		}
	}
	return h
}

// HistoryFileName is the name of a timeline's history file (TLHistoryFileName).
func HistoryFileName(tli TLI) string { return fmt.Sprintf("%08X.history", uint32(tli)) }

// Format returns the content of the history file. It is empty for a timeline
// without ancestors, which has no file.
func (h TimelineHistory) Format() []byte {
	var b []byte
	for _, e := range h.Ancestors {
		b = fmt.Appendf(b, "%d\t%s\t%s\n", e.TLI, e.Switch, e.Reason)
	}
	return b
}

// ParseTimelineHistory reads the content of tli's history file. Blank lines and
// comments are skipped as readTimeLineHistory does. Who recovers to a point in
// front of a switch gets a history whose positions fall: the timelines in between
// own nothing, and end where the next one begins.
func ParseTimelineHistory(tli TLI, content []byte) (TimelineHistory, error) {
	h := TimelineHistory{Last: tli}
	for i, line := range strings.Split(string(content), "\n") {
		if s := strings.TrimSpace(line); s == "" || s[0] == '#' {
			continue
		}
		fields := strings.SplitN(line, "\t", 3)
		if len(fields) < 2 {
			return h, fmt.Errorf("history file of timeline %d, line %d: expected a timeline, a tab and an LSN", tli, i+1)
		}
		n, err := strconv.ParseUint(strings.TrimSpace(fields[0]), 10, 32)
		if err != nil {
			return h, fmt.Errorf("history file of timeline %d, line %d: %w", tli, i+1, err)
		}
		lsn, err := ParseLSN(strings.TrimSpace(fields[1]))
		if err != nil {
			return h, fmt.Errorf("history file of timeline %d, line %d: %w", tli, i+1, err)
		}
		e := HistoryEntry{TLI: TLI(n), Switch: lsn}
		if len(fields) == 3 {
			e.Reason = strings.TrimRight(fields[2], "\r")
		}
		h.Ancestors = append(h.Ancestors, e)
	}
	for i := len(h.Ancestors) - 1; i > 0; i-- {
		h.Ancestors[i-1].Switch = min(h.Ancestors[i-1].Switch, h.Ancestors[i].Switch)
	}
	if !h.Valid() {
		return h, fmt.Errorf("history file of timeline %d: timelines must rise and stay below %d", tli, tli)
	}
	return h, nil
}
