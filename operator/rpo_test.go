package operator

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/walproposer"
)

// A ledger of years is read as a whole: what is left out of it would be taken for
// commits that were safe.
func TestLongLedgerIsRead(t *testing.T) {
	long := make([]walproposer.Interval, 20_000)
	for i := range long {
		long[i] = walproposer.Interval{Reason: strings.Repeat("x", 100), Began: time.Unix(int64(i), 0).UTC(), From: 1}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(long) // The reader says what is missing.
	}))
	defer server.Close()
	c := &Cluster{Walproposer: Walproposer{HTTP: strings.TrimPrefix(server.URL, "http://")}}
	got, err := c.RPO(t.Context())
	require.NoError(t, err)
	require.Equal(t, long, got)
}
