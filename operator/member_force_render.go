package operator

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteTable writes what is at risk for people.
func (l *QuorumLoss) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "node\taddress\tset\tstate\tflushed up to\terror")
	for _, n := range l.Survivors {
		fmt.Fprintf(table, "%s\t%s\t%s\tsurvives\t%s\n", n.NodeID, n.Address, n.Set, n.FlushLSN)
	}
	for _, n := range l.Gone {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t\t%s\n", n.NodeID, n.Address, n.Set, n.State, lastLine(n.Error))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nKept: WAL up to %s, on %s. Known to be committed is %s; what lies between becomes committed, acknowledged or not.\n",
		l.KeptLSN, l.KeptBy, l.CommitLSN)
	fmt.Fprintf(w, "At risk: everything behind %s. Commits that only the members that are gone had flushed are lost, also acknowledged ones.\n", l.KeptLSN)
	switch {
	case l.PGData == "":
		fmt.Fprintln(w, "Which transactions those are only the primary's WAL can tell: name its data directory with --pgdata once it has stopped.\n"+
			"A primary that still runs, or starts again, brings them back: it has what it wrote.")
	case l.EndLSN <= l.KeptLSN:
		fmt.Fprintf(w, "%s ends at %s: it has no transaction that the survivors lack.\n", l.PGData, l.EndLSN)
	default:
		fmt.Fprintf(w, "In %s, which ends at %s, and on no survivor:\n", l.PGData, l.EndLSN)
		if err := writeTransactions(w, l.Transactions); err != nil {
			return err
		}
		fmt.Fprintln(w, "Started as the primary, that server brings them back.")
	}
	_, err := fmt.Fprintf(w, "If a member that is called gone still runs somewhere, with a walproposer that reaches it, history forks: stop it for good first.\n\n"+
		"Generation %d would have the survivors alone, with --accept-loss-after %s\n", l.Forced, l.KeptLSN)
	return err
}

// WriteJSON writes it as one object.
func (l *QuorumLoss) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(l)
}
