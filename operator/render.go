package operator

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/walhaven/walhaven/walproposer"
)

// plural counts things in a sentence: plural(2, "node") is "2 nodes". A second
// form, for words that do not take an s, may be given.
func plural(n int, one string, many ...string) string {
	switch {
	case n == 1:
		return "1 " + one
	case len(many) > 0:
		return strconv.Itoa(n) + " " + many[0]
	default:
		return strconv.Itoa(n) + " " + one + "s"
	}
}

// WriteJSON writes the status for programs.
func (s *Status) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(s)
}

// WriteTable writes the status for people: one word first, then why, then the
// parts.
func (s *Status) WriteTable(w io.Writer, now time.Time) error {
	fmt.Fprintf(w, "%s", s.State)
	if !s.Since.IsZero() {
		fmt.Fprintf(w, " since %s (%s)", s.Since.Format(time.RFC3339), now.Sub(s.Since).Round(time.Second))
	}
	fmt.Fprintf(w, ": %s\n", s.Reason)
	if s.Hint != "" {
		fmt.Fprintf(w, "HINT:  %s\n", s.Hint)
	}
	fmt.Fprintf(w, "\ncommitted up to %s in term %d, timeline %s\n\n", s.CommitLSN, s.Term, s.TimelineID)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PART\tADDRESS\tPID\tTERM\tFLUSHED\tCOMMITTED\tLAG\tNOTE")
	fmt.Fprintf(t, "postgres\t%s\t%s\t\t\t\t\t%s\n", s.Postgres.Conninfo, pidText(s.Postgres.PID), note(s.Postgres.Error, s.Postgres.Version))
	fmt.Fprintf(t, "walproposer\t%s\t%s\t%d\t\t%s\t\t%s\n", s.Walproposer.HTTP, pidText(s.Walproposer.PID), s.Walproposer.Term, s.Walproposer.CommitLSN, note(s.Walproposer.Error, s.Walproposer.State))
	for _, n := range s.Safekeepers {
		role := ""
		if n.Joining {
			role = "joining: does not count yet"
		}
		fmt.Fprintf(t, "safekeeper %d\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", n.ID, n.PG, pidText(n.PID), n.Term, n.FlushLSN, n.CommitLSN, bytesText(n.LagBytes), note(n.Error, role))
	}
	for _, n := range s.Pageservers {
		fmt.Fprintf(t, "pageserver %d\t%s\t%s\t\t%s\t%s\t%s\t%s\n", n.ID, n.PG, pidText(n.PID), n.LastRecordLSN, n.DiskConsistentLSN, bytesText(n.LagBytes), note(n.Error, ""))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return s.Walproposer.writeCancelled(w)
}

// writeCancelled tells of commits that stopped waiting for the quorum, or that nobody
// would see that.
func (s WalproposerStatus) writeCancelled(w io.Writer) error {
	if n := len(s.RecentlyCancelled); n > 0 {
		last := s.RecentlyCancelled[n-1]
		if _, err := fmt.Fprintf(w, "\nWARNING:  %s, before %s (%s of the last day). Such commits may be on PostgreSQL's disk alone: walhaven rpo\n",
			last.Reason, timeText(last.Ended), plural(n, "interval")); err != nil {
			return err
		}
	}
	if walproposer.WaitsNotSeen(s.CancelledWaits) == "" {
		return nil
	}
	fmt.Fprintln(w)
	return writeUnseen(w, s.CancelledWaits)
}

func pidText(pid int) string {
	if pid == 0 {
		return "-"
	}
	return strconv.Itoa(pid)
}

func note(err, otherwise string) string {
	if err != "" {
		return "ERROR: " + err
	}
	return otherwise
}

// bytesText is a size for people, in powers of 1024.
func bytesText(n uint64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 {
		return strconv.FormatUint(n, 10) + " B"
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + units[u]
}
