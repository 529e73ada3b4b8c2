package operator

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// lastLine is an error as a table has it: pgx names each address that it tried in a
// line of its own, and the last of them says it.
func lastLine(text string) string {
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return strings.TrimSpace(text)
}

// WriteTable writes the membership for people.
func (m *Members) WriteTable(w io.Writer) error {
	head := fmt.Sprintf("generation %d, committed up to %s", m.Generation, m.CommitLSN)
	if m.Joint {
		head += ", joint: a change is under way"
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, head)
	fmt.Fprintln(table, "node\taddress\tset\tstate\tgeneration\tflushed up to\tbehind\terror")
	for _, n := range m.Nodes {
		fields := []string{n.NodeID, n.Address, n.Set, n.State, fmt.Sprint(n.Generation), n.FlushLSN.String(), fmt.Sprint(n.LagBytes), lastLine(n.Error)}
		if n.NodeID == "" {
			fields[4], fields[5], fields[6] = "", "", ""
		}
		fmt.Fprintln(table, strings.TrimRight(strings.Join(fields, "\t"), "\t"))
	}
	return table.Flush()
}
