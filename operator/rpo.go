package operator

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

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

// WriteRPO writes intervals for people.
func WriteRPO(w io.Writer, intervals []walproposer.Interval) error {
	if len(intervals) == 0 {
		_, err := fmt.Fprintln(w, "Commits have waited for the quorum whenever it was looked.")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "began after\tnoticed\tended\tfrom\tto\treason")
	for _, i := range intervals {
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

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
