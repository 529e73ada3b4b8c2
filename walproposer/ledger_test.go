package walproposer

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/replication"
)

// Intervals are on disk when note returns, outlive the program, and are read
// though a crash cut a line short.
func TestLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpo.jsonl")
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	l := newLedger(path)
	note := func(s int64, reason string, wantBegan, wantEnded bool) {
		t.Helper()
		began, ended, err := l.note(at(s), reason, 100, 200)
		require.NoError(t, err)
		require.Equal(t, [2]bool{wantBegan, wantEnded}, [2]bool{began, ended})
	}
	note(1, "", false, false)
	require.NoFileExists(t, path, "all is well")
	note(2, "off", true, false)
	note(3, "off", false, false)
	note(4, "", false, true)
	note(5, "empty", true, false)

	l = newLedger(path) // the program was killed while it goes on
	note(9, "empty", false, false)
	all, err := readLedger(path)
	require.NoError(t, err)
	require.Equal(t, []Interval{
		{Reason: "off", Began: at(2), After: at(1), Ended: at(4), From: 100, To: 200},
		{Reason: "empty", Began: at(5), After: at(4), From: 100},
	}, all)

	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"event":"end`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	l = newLedger(path)
	note(12, "", false, true)
	all, err = readLedger(path)
	require.NoError(t, err)
	require.Equal(t, at(12), all[1].Ended)

	_, err = parseLedger([]byte("rubbish\n"))
	require.Error(t, err)
	l = newLedger(t.TempDir())
	_, _, err = l.note(at(1), "off", 0, 0)
	require.Error(t, err, "what cannot be recorded is told")
}

func FuzzLedger(f *testing.F) {
	f.Add([]byte(`{"event":"began","interval":{"reason":"x","began":"2026-01-01T00:00:00Z","from_lsn":"0/1","to_lsn":"0/0"}}` + "\n"))
	f.Add([]byte(`{"event":"ended"}` + "\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseLedger(b) })
}

func TestUnprotected(t *testing.T) {
	well := replication.Row{"names": "walhaven", "sync_state": "sync", "synchronous_commit": "on", "others": "0"}
	for name, tc := range map[string]struct {
		column, value string
		want          string
	}{
		"well":               {"names", "walhaven", ""},
		"not connected":      {"sync_state", "", ""},
		"no names":           {"names", "", "is empty"},
		"not yet reported":   {"sync_state", "async", ""},
		"another's name":     {"names", `walhaven2, "my walhaven"`, "my walhaven"},
		"among others":       {"names", `FIRST 1 ("WalHaven", a)`, ""},
		"anybody":            {"names", "*", ""},
		"not yet caught up":  {"sync_state", "potential", ""},
		"in another's place": {"others", "1", "1 others"},
		"commits wait local": {"synchronous_commit", "local", "local"},
		"commits do not":     {"synchronous_commit", "off", "off"},
	} {
		row := replication.Row{}
		for k, v := range well {
			row[k] = v
		}
		row[tc.column] = tc.value
		got := unprotected(row)
		require.Equal(t, tc.want == "", got == "", "%s: %s", name, got)
		require.Contains(t, got, tc.want)
	}
	for _, tc := range []struct {
		names, state string
		enough       int
	}{
		{"ANY 1 (a, walhaven)", "quorum", 1},
		{"ANY 2 (a, b, walhaven)", "quorum", 2},
		{"ANY 10 (walhaven, *)", "quorum", 10},
		{"FIRST 1 (a, walhaven)", "potential", 1},
		{"FIRST 2 (a, b, walhaven)", "potential", 2},
		{"FIRST 1 (walhaven, a)", "async", 1}, // It has not reported yet,
		{"FIRST 1 (walhaven, a)", "", 1},      // or is gone.
	} {
		row := replication.Row{"names": tc.names, "sync_state": tc.state, "synchronous_commit": "on"}
		for others := range tc.enough + 2 {
			row["others"] = strconv.Itoa(others)
			got := unprotected(row)
			require.Equal(t, others >= tc.enough, got != "", "%+v with %d others: %s", tc, others, got)
			require.Equal(t, others >= tc.enough, strings.Contains(strings.Join(findings(row, false), "; "), "in the walproposer's place"))
		}
	}
	require.NotEmpty(t, unprotected(replication.Row{"names": "other", "synchronous_commit": "on"}))
	require.NotEmpty(t, unprotected(replication.Row{"names": "other", "synchronous_commit": "on", "sync_state": "async"}))
}
