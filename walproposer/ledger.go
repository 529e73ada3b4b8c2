package walproposer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/syncrep"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// Interval is a time in which PostgreSQL did not wait for the quorum.
type Interval = replication.Interval

// ledger is the file of intervals: a line of JSON for each that began, and one
// for each that ended, or one when it is over before it is noticed; one for waits that
// were cancelled, and again when more were.
// A line is on the disk before anything else happens.
type ledger struct {
	path string

	mu   sync.Mutex
	good time.Time // the last look at which all was well
	open *Interval
	read bool // the file was read
	// joined is the last interval of cancelled waits of this process, with how many
	// they are.
	joined *Interval
	waits  int
	// alone is why commits would not have waited had the walproposer been away at the last
	// look. Only the session at hand uses it.
	alone string
	// all are the newest, and news has a token when there is something new among them.
	all  []Interval
	news chan struct{}
}

func newLedger(path string) *ledger { return &ledger{path: path, news: make(chan struct{}, 1)} }

// line is one entry of the file.
type line struct {
	Event    string   `json:"event"` // began, ended, cancelled or past
	Interval Interval `json:"interval"`
}

// maxLedger bounds the file that is read, in bytes: some hundred thousand
// intervals.
const maxLedger = 64 << 20

// readLedger returns the intervals of a ledger, oldest first; a file that does
// not exist has none. A last line that a crash cut short does not count.
func readLedger(path string) ([]Interval, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	defer f.Close() //nolint:errcheck // Only read.
	b, err := io.ReadAll(io.LimitReader(f, maxLedger))
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	return parseLedger(b)
}

func parseLedger(b []byte) (out []Interval, err error) {
	open, joined := -1, -1 // the last that began, and the last of cancelled waits
	for n := 1; len(b) > 0; n++ {
		text, rest, whole := bytes.Cut(b, []byte("\n"))
		b = rest
		if !whole {
			break // of a write that a crash cut short
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return out, fmt.Errorf("read ledger: line %d: %w", n, err)
		}
		switch {
		case l.Event == "began":
			open, out = len(out), append(out, l.Interval)
		case l.Event == "ended" && open >= 0:
			out[open] = l.Interval
		case l.Event == "cancelled" && joined >= 0 && out[joined].Began.Equal(l.Interval.Began):
			out[joined] = l.Interval
		case l.Event == "cancelled":
			joined, out = len(out), append(out, l.Interval)
		case l.Event == "past":
			out = append(out, l.Interval)
		}
	}
	return out, nil
}

// note takes what a look at PostgreSQL said: reason is why commits do not wait,
// "" when they do. It returns whether an interval began or ended, which is on
// disk then.
func (l *ledger) note(now time.Time, reason string, quorum, server wal.LSN) (began, ended bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.loadLocked(); err != nil {
		return false, false, err
	}
	switch {
	case reason == "" && l.open != nil:
		done := *l.open
		done.Ended, done.To = now.UTC(), server
		if err := l.append(line{"ended", done}); err != nil {
			return false, false, err
		}
		l.open, ended = nil, true
		l.knowLocked(done)
	case reason != "" && l.open == nil:
		i := Interval{Reason: reason, Began: now.UTC(), After: l.good, From: quorum}
		if err := l.append(line{"began", i}); err != nil {
			return false, false, err
		}
		l.open, began = &i, true
		l.knowLocked(i)
	}
	if reason == "" {
		l.good = now.UTC()
	}
	return began, ended, nil
}

// loadLocked reads the file once.
func (l *ledger) loadLocked() error {
	if l.path == "" || l.read {
		return nil
	}
	known, err := readLedger(l.path)
	if err != nil {
		return err
	}
	for n := range known {
		if known[n].Ended.IsZero() {
			l.open = &known[n] // of an earlier life of this program
		}
	}
	l.all, l.read = replication.MergeIntervals(known), true
	return nil
}

// knowLocked adds what was just written.
func (l *ledger) knowLocked(i Interval) {
	l.all = replication.MergeIntervals(l.all, []Interval{i})
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// newest are the intervals that safekeepers are to have.
func (l *ledger) newest() ([]Interval, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.loadLocked()
	return slices.Clone(l.all), err
}

// append writes one line durably.
func (l *ledger) append(entry line) (err error) {
	if l.path == "" {
		return nil
	}
	text, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("write ledger %s: %w", l.path, err) }
	_, missing := os.Stat(l.path)
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o640)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := endLine(f); err != nil {
		return fail(err)
	}
	if _, err := f.Write(append(text, '\n')); err != nil {
		return fail(err)
	}
	if err := f.Sync(); err != nil {
		return fail(err)
	}
	if missing == nil {
		return nil
	}
	dir, err := os.Open(filepath.Dir(l.path))
	if err != nil {
		return fail(err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// endLine cuts off what a crash left of a line.
func endLine(f *os.File) error {
	b, err := io.ReadAll(io.LimitReader(f, maxLedger+1))
	if err != nil {
		return err
	}
	if len(b) > maxLedger {
		return fmt.Errorf("it is larger than %d bytes: move it away", maxLedger)
	}
	if whole := int64(bytes.LastIndexByte(b, '\n') + 1); whole < int64(len(b)) {
		return f.Truncate(whole)
	}
	return nil
}

// unprotected says why commits do not wait for the quorum, "" when they do.
func unprotected(row replication.Row) string {
	names, level := unprotectedParts(row)
	return cmp.Or(names, level)
}

// unprotectedParts says so of synchronous_standby_names and of synchronous_commit. While
// the walproposer has no connection they wait because nobody acknowledges them;
// so they do while PostgreSQL calls a walproposer that is named async, which it
// does until its first report, or potential, which it does until the walsender has
// caught up, unless others are enough.
func unprotectedParts(row replication.Row) (names, level string) {
	list, _ := syncrep.Parse(row["names"]) // PostgreSQL has read it
	switch others, enough := standIns(row); {
	case enough:
		names = fmt.Sprintf("synchronous_standby_names is '%s', and %d others can acknowledge in the walproposer's place", row["names"], others)
	case row["names"] == "":
		names = "synchronous_standby_names is empty"
	case !list.Takes(ApplicationName):
		names = fmt.Sprintf("synchronous_standby_names is '%s', and the walproposer's state is %s", row["names"], cmp.Or(row["sync_state"], "unknown"))
	}
	if l := row["synchronous_commit"]; !syncrep.Waits(l) {
		level = "synchronous_commit is " + l
	}
	return names, level
}

// standIns is how many others are connected for whose word commits wait, and whether
// they are enough: then a commit waits for the quorum by chance, or not at all.
func standIns(row replication.Row) (others int, enough bool) {
	names, _ := syncrep.Parse(row["names"])
	others, _ = strconv.Atoi(row["others"])
	return others, others > 0 && names.DoesWithout(others)
}

// keepLedger notes what a look said, and tells about it.
func (s *session) keepLedger(row replication.Row) {
	quorum := s.state.status().CommitLSN
	first := !s.looked
	if first && s.confirmed != 0 {
		quorum = s.confirmed // what it had when nobody looked
	}
	server, _ := row.LSN("insert_lsn") // commits that did not wait may not be flushed, either
	reason := unprotected(row)
	after := s.ledger.lastGood()
	began, ended, err := s.ledger.note(time.Now(), reason, quorum, server)
	switch {
	case err != nil:
		s.logger.Error("cannot record whether commits wait for the quorum", "err", err)
	case began:
		s.metrics.unprotectedTotal.Inc()
		s.logger.Warn("commits do not wait for the quorum", "reason", reason, "quorum", quorum)
	case ended:
		s.logger.Info("commits wait for the quorum again", "server", server)
	case reason == "" && first:
		s.keepAbsence(row, after, server)
	}
	s.looked, s.ledger.alone = true, unattended(row)
	s.metrics.unprotected.Set(0)
	if reason != "" {
		s.metrics.unprotected.Set(1)
	}
}
