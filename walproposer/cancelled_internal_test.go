package walproposer

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/replication"
)

// What PostgreSQL 15 wrote: a wait cancelled, one terminated, one cancelled with
// log_error_verbosity = verbose; then a statement that failed and has such a line in it.
const (
	plainLog = `2026-11-22 13:06:32.503 UTC [11540] WARNING:  canceling wait for synchronous replication due to user request
2026-11-22 13:06:32.503 UTC [11540] DETAIL:  The transaction has already committed locally, but might not have been replicated to the standby.
2026-11-22 13:06:32.642 UTC [11547] WARNING:  canceling the wait for synchronous replication and terminating connection due to administrator command
2026-11-22 13:06:32.642 UTC [11547] DETAIL:  The transaction has already committed locally, but might not have been replicated to the standby.
backend> 2026-11-22 13:06:32.642 UTC [11547] FATAL:  terminating connection due to administrator command
2026-11-22 13:06:32.743 UTC [11566] WARNING:  01000: canceling wait for synchronous replication due to user request
2026-11-22 13:06:32.743 UTC [11566] DETAIL:  The transaction has already committed locally, but might not have been replicated to the standby.
2026-11-22 13:06:32.743 UTC [11566] LOCATION:  SyncRepWaitForLSN, syncrep.c:327
2026-11-22 13:06:32.767 UTC [11578] ERROR:  division by zero
2026-11-22 13:06:32.767 UTC [11578] STATEMENT:  SELECT 'no
	WARNING:  canceling wait for synchronous replication due to user request
	', 1/0
`
	csvLog = `2026-11-22 13:06:32.503 UTC,"postgres","postgres",11540,"[local]",6b02e8d8.2d14,1,"INSERT waiting for 0/1516798",2026-11-22 13:06:32 UTC,4/2,725,WARNING,01000,"canceling wait for synchronous replication due to user request","The transaction has already committed locally, but might not have been replicated to the standby.",,,,,,,,"psql","client backend",,0
2026-11-22 13:06:32.642 UTC,"postgres","postgres",11547,"[local]",6b02e8d8.2d1b,1,"INSERT waiting for 0/1516800",2026-11-22 13:06:32 UTC,3/8,726,WARNING,57P01,"canceling the wait for synchronous replication and terminating connection due to administrator command","The transaction has already committed locally, but might not have been replicated to the standby.",,,,,,,,"psql","client backend",,0
2026-11-22 13:06:32.642 UTC,"postgres","postgres",11547,"[local]",6b02e8d8.2d1b,2,"idle",2026-11-22 13:06:32 UTC,3/0,0,FATAL,57P01,"terminating connection due to administrator command",,,,,,,,,"psql","client backend",,0
2026-11-22 13:06:32.743 UTC,"postgres","postgres",11566,"[local]",6b02e8d8.2d2e,1,"INSERT waiting for 0/1516868",2026-11-22 13:06:32 UTC,4/8,727,WARNING,01000,"canceling wait for synchronous replication due to user request","The transaction has already committed locally, but might not have been replicated to the standby.",,,,,,,"SyncRepWaitForLSN, syncrep.c:327","psql","client backend",,0
2026-11-22 13:06:32.767 UTC,"postgres","postgres",11578,"[local]",6b02e8d8.2d3a,1,"SELECT",2026-11-22 13:06:32 UTC,3/12,0,ERROR,22012,"division by zero",,,,,,"SELECT 'no
WARNING:  canceling wait for synchronous replication due to user request
', 1/0",,,"psql","client backend",,0
`
	jsonLog = `{"timestamp":"2026-11-22 13:06:32.503 UTC","user":"postgres","dbname":"postgres","pid":11540,"remote_host":"[local]","session_id":"6b02e8d8.2d14","line_num":1,"ps":"INSERT waiting for 0/1516798","session_start":"2026-11-22 13:06:32 UTC","vxid":"4/2","txid":725,"error_severity":"WARNING","state_code":"01000","message":"canceling wait for synchronous replication due to user request","detail":"The transaction has already committed locally, but might not have been replicated to the standby.","application_name":"psql","backend_type":"client backend","query_id":0}
{"timestamp":"2026-11-22 13:06:32.642 UTC","user":"postgres","dbname":"postgres","pid":11547,"remote_host":"[local]","session_id":"6b02e8d8.2d1b","line_num":1,"ps":"INSERT waiting for 0/1516800","session_start":"2026-11-22 13:06:32 UTC","vxid":"3/8","txid":726,"error_severity":"WARNING","state_code":"57P01","message":"canceling the wait for synchronous replication and terminating connection due to administrator command","detail":"The transaction has already committed locally, but might not have been replicated to the standby.","application_name":"psql","backend_type":"client backend","query_id":0}
{"timestamp":"2026-11-22 13:06:32.743 UTC","user":"postgres","dbname":"postgres","pid":11566,"remote_host":"[local]","session_id":"6b02e8d8.2d2e","line_num":1,"ps":"INSERT waiting for 0/1516868","session_start":"2026-11-22 13:06:32 UTC","vxid":"4/8","txid":727,"error_severity":"WARNING","state_code":"01000","message":"canceling wait for synchronous replication due to user request","detail":"The transaction has already committed locally, but might not have been replicated to the standby.","func_name":"SyncRepWaitForLSN","file_name":"syncrep.c","file_line_num":327,"application_name":"psql","backend_type":"client backend","query_id":0}
{"timestamp":"2026-11-22 13:06:32.767 UTC","user":"postgres","dbname":"postgres","pid":11578,"remote_host":"[local]","session_id":"6b02e8d8.2d3a","line_num":1,"ps":"SELECT","session_start":"2026-11-22 13:06:32 UTC","vxid":"3/12","txid":0,"error_severity":"ERROR","state_code":"22012","message":"division by zero","statement":"SELECT 'no\nWARNING:  canceling wait for synchronous replication due to user request\n', 1/0","application_name":"psql","backend_type":"client backend","query_id":0}
`
)

func TestCancelledWaitsInALog(t *testing.T) {
	for file, text := range map[string]string{"pg.log": plainLog, "pg.csv": csvLog, "pg.json": jsonLog} {
		s := newLogScan(file)
		require.Equal(t, 3, s.feed([]byte(text)), file)
		s = newLogScan(file)
		n := 0
		for i := range text {
			n += s.feed([]byte(text[i : i+1]))
		}
		require.Equal(t, 3, n, "%s, byte by byte", file)
	}
	const first = "WARNING:  canceling wait for synchronous replication due to user request"
	for line, want := range map[string]int{
		first + "\n":               1, // an empty log_line_prefix
		first + "\r\n":             1,
		first:                      0, // it goes on
		"\xff\xfe " + first + "\n": 1,
		"LOG:  statement: SELECT '" + first + "'\n":                                                0,
		strings.Repeat("x", maxLogLine) + first + "\n" + first + "\n":                              1,
		strings.Repeat("x", maxLogLine-len(first)) + first + "\n":                                  1,
		"WARNING:  canceling wait for synchronous replication due to user requests\n":              0,
		"2026 [1] WARNUNG:  storniere Warten auf synchrone Replikation wegen Benutzeraufforderung": 0,
	} {
		s := newLogScan("pg.log")
		require.Equal(t, want, s.feed([]byte(line)), "%.90q", line)
	}
}

// A log counts the same however it is cut, and no line grows without bound.
func FuzzCancelledWaits(f *testing.F) {
	for _, text := range []string{plainLog, csvLog, jsonLog} {
		f.Add([]byte(text), uint16(300), false)
		f.Add([]byte(text), uint16(700), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, quoted bool) {
		whole, cut := logScan{quoted: quoted}, logScan{quoted: quoted}
		n := min(int(at), len(b))
		want, first := whole.feed(b), cut.feed(b[:n])
		if got := first + cut.feed(b[n:]); got != want || want > strings.Count(string(b), "\n") {
			t.Fatalf("%d waits in two parts, %d in one", got, want)
		}
		if len(whole.rest) > maxLogLine {
			t.Fatalf("a line of %d bytes is kept", len(whole.rest))
		}
	})
}

// A file is followed from its end, through cuts and replacements; a part of a line
// waits for the rest.
func TestServerLogFollowsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pg.log")
	const wait = "2026 [1] WARNING:  canceling wait for synchronous replication due to user request\n"
	write := func(flag int, text string) {
		f, err := os.OpenFile(path, flag|os.O_CREATE|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	l := new(serverLog)
	look := func(want int) {
		t.Helper()
		l.found = 0
		require.NoError(t, l.look(context.Background(), localLog{path}))
		require.Equal(t, want, l.found)
	}
	require.ErrorIs(t, l.look(context.Background(), localLog{path}), os.ErrNotExist)
	write(os.O_APPEND, wait)
	look(0) // of before
	write(os.O_APPEND, wait+wait[:40])
	look(1)
	write(os.O_APPEND, wait[40:])
	look(1)
	look(0)
	write(os.O_TRUNC, wait)
	look(1)
	require.NoError(t, os.Rename(path, path+".1"))
	write(os.O_APPEND, wait+wait+wait+wait+wait)
	look(5)
	write(os.O_APPEND, strings.Repeat(strings.Repeat("x", 1023)+"\n", logReads*logRead/1024)+wait)
	look(0)
	require.EqualValues(t, len(wait), l.unread())
	look(1)
	require.Zero(t, l.unread())
	require.Error(t, new(serverLog).look(context.Background(), localLog{t.TempDir()}), "a folder")
}

// folder is a log folder of a logging collector, as look and read say it is.
type folder struct {
	current string
	files   map[string]string
}

func (f *folder) look(context.Context) (string, map[string]int64, error) {
	sizes := map[string]int64{}
	for name, text := range f.files {
		sizes[name] = int64(len(text))
	}
	return f.current, sizes, nil
}

func (f *folder) read(_ context.Context, file string, offset int64) ([]byte, error) {
	text := f.files[file]
	return []byte(text[min(offset, int64(len(text))):]), nil
}

// Through rotations nothing is missed, nor counted twice: not what a file had that the
// collector comes back to.
func TestServerLogFollowsRotations(t *testing.T) {
	const wait = "2026 [1] WARNING:  canceling wait for synchronous replication due to user request\n"
	f := &folder{current: "mon", files: map[string]string{"mon": wait, "tue": wait + wait}}
	l := new(serverLog)
	look := func(want int) {
		t.Helper()
		l.found = 0
		require.NoError(t, l.look(context.Background(), f))
		require.Equal(t, want, l.found)
	}
	look(0)
	f.files["mon"] += wait
	f.files["tue"] += wait
	f.current = "tue"
	look(2)
	f.files["tue"] += wait
	look(1)
	f.current, f.files["wed"] = "wed", wait
	look(1)
	f.current, f.files["mon"] = "mon", wait // log_truncate_on_rotation
	delete(f.files, "wed")
	look(1)
	f.files["mon"] += wait
	f.files["mon-1"], f.files["mon-2"], f.files["mon-3"] = wait, wait+wait, wait // several since the last look
	f.files["a-old"], f.files["mon-2.csv"] = wait, wait
	f.current = "mon-3"
	look(5)
	look(0)
}

// Cancelled waits of looks that follow each other are one interval, beside one that
// goes on, and in the file, too.
func TestLedgerOfCancelledWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpo.jsonl")
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	l := newLedger(path)
	cancelled := func(now, after int64, n int, wantBegan bool) {
		t.Helper()
		_, began, err := l.cancelled(at(now), at(after), n, 100, 200)
		require.NoError(t, err)
		require.Equal(t, wantBegan, began)
	}
	_, _, err := l.note(at(5), "off", 90, 0)
	require.NoError(t, err)
	cancelled(5, 4, 1, true)
	_, _, err = l.note(at(6), "", 0, 300)
	require.NoError(t, err)
	cancelled(10, 5, 2, false)
	cancelled(20, 15, 1, true)
	want := []Interval{
		{Reason: "off", Began: at(5), Ended: at(6), From: 90, To: 300},
		{Reason: "3 waits for the quorum were cancelled, according to PostgreSQL's log", Began: at(5).Add(1), After: at(4), Ended: at(10), From: 100, To: 200},
		{Reason: "1 wait for the quorum was cancelled, according to PostgreSQL's log", Began: at(20), After: at(15), Ended: at(20), From: 100, To: 200},
	}
	for _, l := range []*ledger{l, newLedger(path)} {
		all, err := l.newest()
		require.NoError(t, err)
		require.Equal(t, want, all)
	}
	all, err := readLedger(path)
	require.NoError(t, err)
	require.Equal(t, want, all)
	for _, i := range all {
		_, err := replication.ParseInterval(replication.Row{"began": "2026-01-01T00:00:00Z", "from_lsn": "0/1", "to_lsn": "0/2", "reason": i.Reason})
		require.NoError(t, err, "a safekeeper takes it")
	}
}

func TestLogsThatDoNotTell(t *testing.T) {
	row := replication.Row{"lc_messages": "de_DE.UTF-8", "log_min_messages": "warning", "short_desc": englishDesc}
	require.Empty(t, unreadable(row), "a server without translations")
	row["short_desc"] = "Erzwingt die Synchronisierung von Aktualisierungen auf Festplatte."
	require.Contains(t, unreadable(row), "de_DE")
	row["lc_messages"] = ""
	require.Contains(t, unreadable(row), "lc_messages is ''", "the language of the environment")
	require.Contains(t, unreadable(replication.Row{"short_desc": englishDesc, "log_min_messages": "fatal"}), "fatal: PostgreSQL logs neither")
}

// A log that is written faster than it is read is not called read.
func TestStateOfCancelledWaits(t *testing.T) {
	s := newState(nil)
	require.True(t, s.cancelled("", 0))
	require.Equal(t, "seen", s.status().CancelledWaits)
	require.False(t, s.cancelled("", 0))
	s.cancelled("", 5<<20+1)
	require.Equal(t, "seen, with 6 MiB of PostgreSQL's log still to be read", s.status().CancelledWaits)
	require.Empty(t, WaitsNotSeen(s.status().CancelledWaits))
	s.cancelled("no file", 1)
	require.Equal(t, "no file", WaitsNotSeen(s.status().CancelledWaits))
}
