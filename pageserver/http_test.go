package pageserver

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/replication"
)

// getRows asks an endpoint below /v1/; null is a column that is not there.
func (n *node) getRows(path string, query url.Values) (status int, rows []replication.Row) {
	n.t.Helper()
	w := httptest.NewRecorder()
	n.server.V1().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path+"?"+query.Encode(), http.NoBody))
	if w.Code != http.StatusOK {
		return w.Code, nil
	}
	var objects []map[string]*string
	require.NoError(n.t, json.Unmarshal(w.Body.Bytes(), &objects))
	rows = []replication.Row{}
	for _, object := range objects {
		row := replication.Row{}
		for name, value := range object {
			if value != nil {
				row[name] = *value
			}
		}
		rows = append(rows, row)
	}
	return w.Code, rows
}

// The endpoints below /v1/ answer what psql gets, and those that change
// something are not among them.
func (h *history) checkHTTP(t *testing.T, n *node) {
	w := httptest.NewRecorder()
	n.server.V1().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/", http.NoBody))
	var paths []string
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &paths))
	for _, path := range []string{"/v1/show-lsn", "/v1/show-window", "/v1/show-pins", "/v1/find", "/v1/show-page", "/v1/show-relations"} {
		require.Contains(t, paths, path)
	}
	for _, path := range []string{"/v1/pin", "/v1/unpin", "/v1/import"} {
		require.NotContains(t, paths, path)
		code, _ := n.getRows(path, url.Values{"name": {"x"}, "at": {"latest"}})
		require.Equal(t, http.StatusNotFound, code, path)
	}
	for _, ask := range []struct {
		sql, path string
		query     url.Values
	}{
		{"SHOW LSN AT 'name:before the release'", "/v1/show-lsn", url.Values{"at": {"name:before the release"}}},
		{"SHOW WINDOW", "/v1/show-window", nil},
		{"SHOW PINS", "/v1/show-pins", nil},
		{"FIND 'drop' NAMED 'shop.*' KINDS 'ri' LIMIT 5", "/v1/find", url.Values{"what": {"drop"}, "pattern": {"shop.*"}, "kinds": {"ri"}, "limit": {"5"}}},
		{"SHOW RELATIONS", "/v1/show-relations", nil},
	} {
		want, err := n.query(ask.sql)
		require.NoError(t, err)
		code, got := n.getRows(ask.path, ask.query)
		require.Equal(t, http.StatusOK, code, ask.path)
		require.Equal(t, want, got, ask.path)
	}
	for path, query := range map[string]url.Values{
		"/v1/find": {"what": {"lost"}}, "/v1/show-lsn": {"at": {"2001-01-01 00:00:00Z"}},
	} {
		code, _ := n.getRows(path, query)
		require.Equal(t, http.StatusBadRequest, code, path)
	}
	code, _ := n.getRows("/v1/show-lsn", url.Values{"at": {"name:it's never"}})
	require.Equal(t, http.StatusNotFound, code, "a quote in a name stays in it")
}
