package daemon

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"
)

// writeHealth answers with the checks: JSON where it is asked for, else text
// for a person; status 200 or 503.
func writeHealth(w http.ResponseWriter, r *http.Request, ready bool, checks []CheckStatus) {
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	if wantsJSON(r) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		// Only the connection can fail here, and it is the client's.
		_ = json.NewEncoder(w).Encode(struct {
			OK     bool          `json:"ok"`
			Checks []CheckStatus `json:"checks"`
		}{ready, checks})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	writeHealthText(w, ready, checks)
}

func writeHealthText(w http.ResponseWriter, ready bool, checks []CheckStatus) {
	word := map[bool]string{true: "ok", false: "FAILED"}
	fmt.Fprintln(w, word[ready])
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range checks {
		fmt.Fprintf(table, "%s\t%s\tsince %s\t%s\n", word[c.OK], c.Name, c.Since.UTC().Format(time.RFC3339), oneLine(c.Reason))
	}
	_ = table.Flush() // As above.
}

func wantsJSON(r *http.Request) bool {
	return r.URL.Query().Get("format") == "json" || strings.Contains(r.Header.Get("Accept"), "application/json")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
