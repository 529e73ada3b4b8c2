package replication

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/walhaven/walhaven/wal"
)

// Interval is a time in which PostgreSQL did not wait for the quorum: commits of
// it may be lost though they were acknowledged. Began is what it is known by.
type Interval struct {
	Reason string `json:"reason"`
	// Began is when it was noticed, After the last look before at which all was
	// well: it began between the two. After is zero when there was no such look.
	Began time.Time `json:"began"`
	After time.Time `json:"after,omitzero"`
	Ended time.Time `json:"ended,omitzero"` // when it was seen to be over; zero = it goes on
	// From is where the quorum's WAL ended when it was noticed, To where the
	// server's did when it was over: what lies between may be lost with the server
	// until the quorum has it.
	From wal.LSN `json:"from_lsn"`
	To   wal.LSN `json:"to_lsn"`
}

const (
	// MaxIntervals is how many intervals a safekeeper keeps of a timeline, the newest.
	MaxIntervals = 500
	// maxReason bounds the reason of one that is kept there, in bytes.
	maxReason = 256
)

// IntervalColumns are the columns of SHOW INTERVALS, and the options of RECORD
// INTERVAL.
var IntervalColumns = []string{"began", "after", "ended", "from_lsn", "to_lsn", "reason"}

// Values are the interval's, in the order of IntervalColumns; nil for a time that
// is not known.
func (i Interval) Values() []any {
	at := func(t time.Time) any {
		if t.IsZero() {
			return nil
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	return []any{at(i.Began), at(i.After), at(i.Ended), i.From, i.To, i.Reason}
}

// Statement is the RECORD INTERVAL that says so to a safekeeper.
func (i Interval) Statement() string {
	i.Reason = bounded(i.Reason)
	var parts []string
	for n, value := range i.Values() {
		if value != nil {
			parts = append(parts, fmt.Sprintf("%s '%s'", IntervalColumns[n], strings.ReplaceAll(fmt.Sprint(value), "'", "''")))
		}
	}
	return "RECORD INTERVAL (" + strings.Join(parts, ", ") + ")"
}

// bounded is a reason as a safekeeper takes it.
func bounded(reason string) string {
	reason = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, reason)
	for len(reason) > maxReason {
		_, n := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-n]
	}
	return reason
}

// ParseInterval reads a row of SHOW INTERVALS, or the options of RECORD INTERVAL.
func ParseInterval(row Row) (i Interval, err error) {
	p := rowParser{row: row}
	at := func(column string) (t time.Time) {
		if row[column] == "" {
			return t
		}
		p.parse(column, func(v string) (err error) { t, err = time.Parse(time.RFC3339Nano, v); return })
		return t.UTC()
	}
	i = Interval{Reason: row["reason"], After: at("after"), Ended: at("ended"), From: p.lsn("from_lsn"), To: p.lsn("to_lsn")}
	if i.Began = at("began"); p.err == nil && i.Began.IsZero() {
		p.err = fmt.Errorf("column began is missing")
	}
	if p.err == nil && i.Reason != bounded(i.Reason) {
		p.err = fmt.Errorf("column reason: more than %d bytes, or not printable", maxReason)
	}
	return i, p.err
}

// MergeIntervals joins what several know: each interval once, as the one says who
// knows that it is over; the newest MaxIntervals, oldest first.
func MergeIntervals(lists ...[]Interval) []Interval {
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, func(a, b Interval) int {
		return cmp.Or(a.Began.Compare(b.Began), b.Ended.Compare(a.Ended)) // who knows the end first
	})
	all = slices.CompactFunc(all, func(a, b Interval) bool { return a.Began.Equal(b.Began) })
	return all[max(0, len(all)-MaxIntervals):]
}

// SameInterval says whether two accounts of an interval say the same.
func SameInterval(a, b Interval) bool {
	return a.Began.Equal(b.Began) && a.Ended.Equal(b.Ended) && a.After.Equal(b.After) && a.From == b.From && a.To == b.To && bounded(a.Reason) == bounded(b.Reason)
}
