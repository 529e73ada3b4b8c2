package operator

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// writeTransactions writes a line for each.
func writeTransactions(w io.Writer, transactions []OrphanTransaction) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "xid\tstate\ttime\tlsn\trecords\trelations")
	for _, t := range transactions {
		at := ""
		if !t.Time.IsZero() {
			at = t.Time.Format(time.RFC3339Nano)
		}
		fmt.Fprintln(table, strings.TrimRight(strings.Join([]string{
			fmt.Sprint(t.XID), t.State, at, t.LSN.String(), fmt.Sprint(t.Records), strings.Join(t.Relations, " "),
		}, "\t"), "\t"))
	}
	return table.Flush()
}

// WriteJSON writes the whole report as one object.
func (o *Orphans) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(o)
}

// WriteJSONLines writes an object for each transaction.
func (o *Orphans) WriteJSONLines(w io.Writer) error {
	e := json.NewEncoder(w)
	for _, t := range o.Transactions {
		if err := e.Encode(t); err != nil {
			return err
		}
	}
	return nil
}
