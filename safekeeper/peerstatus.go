package safekeeper

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// peerStatus is what a peer's TIMELINE_STATUS said.
type peerStatus struct {
	flush, commit wal.LSN
	term, lastLog wal.Term
	history       pushwal.TermHistory
	tliHistory    wal.TimelineHistory
	oldest        wal.LSN
	joining       bool
	writerAge     time.Duration // negative: never heard
}

// parsePeerStatus reads one row of TIMELINE_STATUS by column name, so that a
// newer peer with more columns is understood.
func parsePeerStatus(row map[string]string) (peerStatus, error) {
	var p peerStatus
	var err error
	fail := func(column string, e error) {
		if err == nil && e != nil {
			err = fmt.Errorf("peer's %s: %w", column, e)
		}
	}
	lsn := func(column string) wal.LSN {
		v, e := wal.ParseLSN(row[column])
		fail(column, e)
		return v
	}
	number := func(column string) uint64 {
		v, e := strconv.ParseUint(row[column], 10, 64)
		fail(column, e)
		return v
	}
	p.flush, p.commit, p.oldest = lsn("flush_lsn"), lsn("commit_lsn"), lsn("oldest_lsn")
	p.term, p.lastLog = wal.Term(number("term")), wal.Term(number("last_log_term"))
	p.joining = row["joining"] == "t"
	age, e := strconv.ParseInt(row["writer_age_ms"], 10, 64)
	fail("writer_age_ms", e)
	p.writerAge = time.Duration(age) * time.Millisecond
	p.history, e = parseTermHistory(row["term_history"])
	fail("term_history", e)
	tli := number("tli")
	if err == nil {
		p.tliHistory, err = wal.ParseTimelineHistory(wal.TLI(tli), []byte(row["tli_history"]))
	}
	return p, err
}

// maxTermHistory bounds what parseTermHistory takes, in entries.
const maxTermHistory = 1 << 20

// formatTermHistory is the text of column term_history: term@LSN, separated by
// commas.
func formatTermHistory(h pushwal.TermHistory) string {
	var b strings.Builder
	for i, e := range h {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%d@%s", e.Term, e.LSN)
	}
	return b.String()
}

// parseTermHistory reads what formatTermHistory wrote. Terms must rise and
// positions must not fall.
func parseTermHistory(s string) (pushwal.TermHistory, error) {
	if s == "" {
		return nil, nil
	}
	parts := strings.Split(s, ",")
	if len(parts) > maxTermHistory {
		return nil, fmt.Errorf("term history of %d entries, at most %d are possible", len(parts), maxTermHistory)
	}
	h := make(pushwal.TermHistory, 0, len(parts))
	for i, part := range parts {
		term, at, ok := strings.Cut(part, "@")
		n, err := strconv.ParseUint(term, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("invalid entry %q of a term history", part)
		}
		lsn, err := wal.ParseLSN(at)
		if err != nil {
			return nil, fmt.Errorf("entry %q of a term history: %w", part, err)
		}
		e := pushwal.TermLSN{Term: wal.Term(n), LSN: lsn}
		if i > 0 && (e.Term <= h[i-1].Term || e.LSN < h[i-1].LSN) {
			return nil, fmt.Errorf("term history does not rise at %q", part)
		}
		h = append(h, e)
	}
	return h, nil
}
