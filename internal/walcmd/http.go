package walcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
)

// httpTimeout bounds one command of the HTTP interface.
const httpTimeout = 30 * time.Second

// HTTP serves the reading commands of a table as JSON: GET /v1/show-timelines
// answers an array of objects whose members are the columns, as text, as psql
// shows them; NULL is null. Arguments of the command and the options tenant_id
// and timeline_id are query parameters. GET /v1/ lists what there is.
//
// begin makes the session that the command runs in.
func HTTP(t *admin.Table, begin func(s *protocol.Session) error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/{$}", func(w http.ResponseWriter, r *http.Request) {
		var names []string
		for _, c := range t.Commands() {
			if servedByHTTP(c) {
				names = append(names, "/v1/"+c.Path())
			}
		}
		writeJSON(w, http.StatusOK, names)
	})
	for _, c := range t.Commands() {
		if servedByHTTP(c) {
			mux.Handle("/v1/"+c.Path(), command{t, c, begin})
		}
	}
	return mux
}

// servedByHTTP leaves out what changes state, what needs a right that HTTP
// cannot show, and what only drivers send.
func servedByHTTP(c *admin.Command) bool {
	return !c.Changes && !c.Hidden && c.Scope != admin.ScopeAdmin && !strings.ContainsAny(c.Name, "()")
}

type command struct {
	table   *admin.Table
	command *admin.Command
	begin   func(s *protocol.Session) error
}

func (c command) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), httpTimeout)
	defer cancel()
	rows, err := c.run(ctx, r)
	if err != nil {
		status := http.StatusInternalServerError
		switch code := protocol.SQLState(err); {
		case code == protocol.CodeUndefinedObject || code == protocol.CodeUndefinedFile:
			status = http.StatusNotFound
		case strings.HasPrefix(code, "42"), strings.HasPrefix(code, "22"), code == protocol.CodeOutsideWindow:
			status = http.StatusBadRequest
		}
		writeJSON(w, status, map[string]string{"error": err.Error(), "sqlstate": protocol.SQLState(err)})
		return
	}
	writeJSON(w, http.StatusOK, rows)
}

func (c command) run(ctx context.Context, r *http.Request) ([]map[string]*string, error) {
	query := r.URL.Query()
	session := &protocol.Session{Options: map[string]string{}, User: "http", Database: "http"}
	for _, name := range []string{"tenant_id", "timeline_id"} {
		if v := query.Get(name); v != "" {
			session.Options[name] = v
		}
	}
	if err := c.begin(session); err != nil {
		return nil, err
	}
	call, err := c.table.Lookup(c.statement(query.Get))
	if err != nil {
		return nil, err
	}
	call.Target = session
	values, err := call.Rows(ctx)
	if err != nil {
		return nil, err
	}
	return Objects(call.Columns(), values)
}

// statement is the command as psql would send it.
func (c command) statement(arg func(name string) string) string {
	var b strings.Builder
	b.WriteString(c.command.Name)
	for _, a := range c.command.Args {
		if v := arg(a.Name); v != "" {
			if a.Keyword != "" {
				b.WriteString(" " + a.Keyword)
			}
			b.WriteString(" '" + strings.ReplaceAll(v, "'", "''") + "'")
		}
	}
	return b.String()
}

// Objects renders rows as JSON objects with text values.
func Objects(columns []admin.Column, rows [][]any) ([]map[string]*string, error) {
	out := make([]map[string]*string, 0, len(rows))
	for _, row := range rows {
		object := make(map[string]*string, len(columns))
		for i, c := range columns {
			text, null, err := admin.AppendValue(nil, row[i])
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", c.Name, err)
			}
			object[c.Name] = nil
			if !null {
				s := string(text)
				object[c.Name] = &s
			}
		}
		out = append(out, object)
	}
	return out, nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // Only the connection can fail here, and it is the client's.
}
