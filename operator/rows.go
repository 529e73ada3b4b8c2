package operator

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/walhaven/walhaven/replication"
)

// Rows are an answer of a command table, with the order of its columns. An empty
// value is NULL.
type Rows struct {
	Columns []string
	Values  []replication.Row
}

// Write writes rows in one of the forms of -o: table, json (one array) or jsonl
// (an object a line). Values are text, as psql and /v1/ show them.
func (r *Rows) Write(w io.Writer, form string) error {
	switch form {
	case "json":
		objects := make([]map[string]*string, len(r.Values))
		for i := range r.Values {
			objects[i] = r.object(i)
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(objects)
	case "jsonl":
		e := json.NewEncoder(w)
		for i := range r.Values {
			if err := e.Encode(r.object(i)); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(r.Columns, "\t"))
	for _, row := range r.Values {
		values := make([]string, len(r.Columns))
		for i, name := range r.Columns {
			values[i] = row[name]
		}
		fmt.Fprintln(t, strings.Join(values, "\t"))
	}
	return t.Flush()
}

func (r *Rows) object(i int) map[string]*string {
	object := make(map[string]*string, len(r.Columns))
	for _, name := range r.Columns {
		object[name] = nil
		if v := r.Values[i][name]; v != "" {
			object[name] = &v
		}
	}
	return object
}

// WriteFields writes the one row that there is for people: a line a column,
// without those that are NULL.
func (r *Rows) WriteFields(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range r.Values {
		for _, name := range r.Columns {
			if v := row[name]; v != "" {
				fmt.Fprintf(t, "%s\t%s\n", strings.ReplaceAll(name, "_", " "), v)
			}
		}
	}
	return t.Flush()
}
