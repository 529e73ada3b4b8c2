package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/walproposer"
)

// RPO returns the intervals in which PostgreSQL did not wait for the quorum, as
// the walproposer has recorded them, oldest first.
func (c *Cluster) RPO(ctx context.Context) ([]walproposer.Interval, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var out []walproposer.Interval
	if err := getJSON(ctx, "http://"+c.Walproposer.HTTP+"/v1/rpo", &out); err != nil {
		return nil, fmt.Errorf("ask the walproposer for its ledger: %w", err)
	}
	return out, nil
}

// RPOOfQuorum returns what a majority of the safekeepers knows of that, for when the
// walproposer's machine is gone: the newest intervals, oldest first. One that began
// when no quorum was reached any more is not among them. An error is an ErrNoQuorum
// when too few answer.
func (c *Cluster) RPOOfQuorum(ctx context.Context) ([]walproposer.Interval, error) {
	v, err := c.look(ctx)
	if err != nil {
		return nil, err
	}
	return v.intervals(func(n nodeView) ([]walproposer.Interval, error) { return c.intervalsAt(ctx, n.PG) })
}

// intervals is what a majority answers to ask.
func (v quorumView) intervals(ask func(nodeView) ([]walproposer.Interval, error)) ([]walproposer.Interval, error) {
	var said []nodeView
	var lists [][]walproposer.Interval
	failures := []error{ErrNoQuorum}
	for _, n := range v.nodes {
		list, err := ask(n)
		if err != nil {
			failures = append(failures, fmt.Errorf("safekeeper %d: %w", n.ID, err))
			continue
		}
		said, lists = append(said, n), append(lists, list)
	}
	if !v.isMajority(said) {
		return nil, errors.Join(failures...)
	}
	return replication.MergeIntervals(lists...), nil
}

func (c *Cluster) intervalsAt(ctx context.Context, address string) (out []walproposer.Interval, err error) {
	rows, err := c.query(ctx, address, "SHOW INTERVALS", nil)
	for _, row := range rows {
		i, err := replication.ParseInterval(row)
		if err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	return out, err
}

// CancelledWaits is what the walproposer says of waits that are cancelled: whether it
// sees them in PostgreSQL's log. "" when it does not answer.
func (c *Cluster) CancelledWaits(ctx context.Context) string {
	return c.walproposerStatus(ctx).CancelledWaits
}

// recentlyCancelled are those of intervals that are of cancelled waits and ended within
// a day before now.
func recentlyCancelled(intervals []walproposer.Interval, now time.Time) (out []walproposer.Interval) {
	for _, i := range intervals {
		if walproposer.OfCancelledWaits(i) && now.Sub(i.Ended) < 24*time.Hour {
			out = append(out, i)
		}
	}
	return out
}

// writeUnseen says why waits that are cancelled are not seen, and settings that are taken
// back, if so.
func writeUnseen(w io.Writer, cancelledWaits string) error {
	why := walproposer.WaitsNotSeen(cancelledWaits)
	if why == "" {
		return nil
	}
	settings := ""
	if walproposer.SettingsNotSeen(cancelledWaits) {
		settings = ", and settings that are taken back between two looks,"
	}
	_, err := fmt.Fprintf(w, "Commits that are cancelled while they wait%s are not recorded: %s\n", settings, why)
	return err
}

// Ledger is the intervals in which PostgreSQL did not wait for the quorum, and who named
// them.
type Ledger struct {
	Intervals      []walproposer.Interval
	CancelledWaits string // what the walproposer says of waits that are cancelled
	Copy           bool   // of the safekeepers, which do not see PostgreSQL
}

// WriteRPO writes the ledger for people, and what is not in it.
func WriteRPO(w io.Writer, l Ledger) error {
	if err := l.writeIntervals(w); err != nil {
		return err
	}
	if l.Copy {
		_, err := fmt.Fprintln(w, "Not known from the safekeepers' copy: what began while no quorum was reached, and whether commits that are cancelled while they wait are seen.")
		return err
	}
	return writeUnseen(w, l.CancelledWaits)
}

func (l Ledger) writeIntervals(w io.Writer) error {
	switch {
	case len(l.Intervals) == 0 && l.Copy:
		_, err := fmt.Fprintln(w, "The safekeepers were told of no time in which commits did not wait for the quorum.")
		return err
	case len(l.Intervals) == 0:
		_, err := fmt.Fprintln(w, "Commits have waited for the quorum whenever it was looked.")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "began after\tnoticed\tended\tfrom\tto\treason")
	for _, i := range l.Intervals {
		ended, to := timeText(i.Ended), ""
		if i.Ended.IsZero() {
			ended = "goes on"
		} else {
			to = i.To.String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", cmp.Or(timeText(i.After), "unknown"), timeText(i.Began), ended, i.From, to, i.Reason)
	}
	return table.Flush()
}

// WriteRPOJSON writes intervals for programs: one array, or with lines an object a line.
func WriteRPOJSON(w io.Writer, intervals []walproposer.Interval, lines bool) error {
	e := json.NewEncoder(w)
	if !lines {
		return e.Encode(append([]walproposer.Interval{}, intervals...)) // none is [], not null
	}
	for _, i := range intervals {
		if err := e.Encode(i); err != nil {
			return err
		}
	}
	return nil
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
