package walproposer

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
)

var rewriteLogs = flag.Bool("rewrite-serverlogs", false, "write what the server at hand logs to testdata/serverlog")

// logForms are the forms of PostgreSQL's log, by how their files' names end.
var logForms = []string{"log", "csv", "json"}

// reloads are contents of postgresql.auto.conf, one after the other, and what a server
// says that has them loaded.
var reloads = []struct {
	conf string
	want []change
}{
	{"synchronous_standby_names = ''\n", []change{{name: settingNames}}},
	{"synchronous_standby_names = 'walhaven'\nwork_mem = '5MB'\n", []change{{name: settingNames, value: "walhaven"}}},
	{
		"synchronous_standby_names = 'FIRST 1 (\"wal\"\"haven\", other)'\nsynchronous_commit = off\n",
		[]change{{name: settingNames, value: `FIRST 1 ("wal""haven", other)`}, {name: settingLevel, value: "off"}},
	},
	{"synchronous_standby_names = 'FIRST 1 (\"wal\"\"haven\", other)'\nSynchronous_Commit = LOCAL\n", []change{{name: settingLevel, value: "LOCAL"}}},
	{
		"log_error_verbosity = verbose\nsynchronous_standby_names = 'ANY 1 (walhaven, \"o,\\\\o\")'\nsynchronous_commit = no\n",
		[]change{{name: settingNames, value: `ANY 1 (walhaven, "o,\o")`}, {name: settingLevel, value: "no"}},
	},
	{"synchronous_standby_names = 'a,\\nwalhaven'\nsynchronous_commit = no\n", []change{{name: settingNames, value: "a,", cut: true}}},
	{"synchronous_standby_names = 'a,\\nwalhaven'\n", []change{{name: settingLevel, value: "on", removed: true}}},
	{"log_error_verbosity = terse\nlog_statement = all\n", []change{{name: settingNames, removed: true}}},
}

// clientsText is what clients have written that looks like a change. Only what is
// raised is believed, where the form does not tell a client from the postmaster.
var clientsText = []string{
	"SELECT 1/0, '\nLOG:  parameter \"synchronous_commit\" changed to \"off\"\n'",
	"SELECT 'LOG:  parameter \"synchronous_commit\" changed to \"off\"'",
	"DO $$ BEGIN RAISE LOG 'parameter \"synchronous_commit\" changed to \"remote_apply\"'; END $$",
	"SELECT 'the end'",
}

// wantChanges are those of reloads, in one form of log.
func wantChanges(form string) (want []change) {
	for _, r := range reloads {
		want = append(want, r.want...)
		if form == "json" { // it has no lines within a message
			for i := range want {
				if want[i].cut {
					want[i] = change{name: settingNames, value: "a,\nwalhaven"}
				}
			}
		}
	}
	if form == "log" {
		want = append(want, change{name: settingLevel, value: "remote_apply"})
	}
	return want
}

// A server's log tells of each change, in all its forms, as clients cannot in two of them.
func TestChangesInAServersLog(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	install := computetest.Find(t, 0)
	destination, forms := "stderr,csvlog,jsonlog", logForms
	if install.Version.Major < 15 {
		destination, forms = "stderr,csvlog", forms[:2]
	}
	pg := computetest.New(t, computetest.Options{NoStart: true, Settings: map[string]string{
		"logging_collector": "on", "log_destination": destination, "log_directory": "serverlog", "log_filename": "pg.log",
	}})
	require.NoError(t, pg.WriteFile("postgresql.auto.conf", []byte("synchronous_standby_names = 'walhaven'\n")))
	require.NoError(t, pg.Start(ctx, compute.StartOptions{}))
	for _, r := range reloads {
		require.NoError(t, pg.WriteFile("postgresql.auto.conf", []byte(r.conf)))
		require.NoError(t, pg.Reload(ctx))
	}
	for _, sql := range clientsText {
		if err := pg.Exec(ctx, sql); err != nil {
			require.ErrorContains(t, err, "division by zero")
		}
	}
	for _, form := range forms {
		var text []byte
		require.Eventually(t, func() bool {
			var err error
			text, err = os.ReadFile(filepath.Join(pg.DataDir(), "serverlog", "pg."+form))
			return err == nil && bytes.Contains(text, []byte("the end")) && bytes.HasSuffix(text, []byte("\n"))
		}, time.Minute, 20*time.Millisecond)
		s := newLogScan("pg." + form)
		s.feed(text)
		require.Equal(t, wantChanges(form), s.take(), form)
		if *rewriteLogs {
			first := bytes.Index(text, []byte("received SIGHUP"))
			first = bytes.LastIndexByte(text[:first], '\n') + 1
			require.NoError(t, os.WriteFile(fmt.Sprintf("testdata/serverlog/%d.%s", install.Version.Major, form), text[first:], 0o644)) //nolint:gosec // As the others.
		}
	}
}

// What each major wrote is understood.
func TestChangesInTheLogsOfAllMajors(t *testing.T) {
	files, err := filepath.Glob("testdata/serverlog/*")
	require.NoError(t, err)
	require.Len(t, files, 14, "five majors in three forms, of which one came with 15")
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		s := newLogScan(file)
		for _, b := range text {
			s.feed([]byte{b})
		}
		require.Equal(t, wantChanges(strings.TrimPrefix(filepath.Ext(file), ".")), s.take(), file)
	}
}

func TestChangesInALine(t *testing.T) {
	const text = `parameter "synchronous_commit" changed to "off"`
	for line, want := range map[string]int{
		"LOG:  " + text:                                          1,
		"LOG:  " + text + "\r":                                   1,
		"x[1] LOG:  00000: " + text:                              1,
		"DEBUG:  " + text:                                        0, // of another process than the postmaster
		"\tLOG:  " + text:                                        0, // of a statement
		"x LOG:  statement: SELECT 'LOG:  " + text:               0,
		"x ERROR:  LOG:  " + text:                                0,
		`LOG:  parameter "fsync" changed to "off"`:               0,
		`LOG:  parameter "synchronous_commit" cannot be changed`: 0,
		`LOG:  parameter "synchronous_commit" removed from configuration file,`: 0,
	} {
		s := newLogScan("pg.log")
		s.feed([]byte(line + "\n"))
		require.Len(t, s.take(), want, line)
	}
	for _, quoted := range []string{
		`t,,,7,,s,1,,b,,0,LOG,00000,""` + text + `"",,`,
		`t,"u","d",7,"h",s,1,"c",b,,0,LOG,00000,"` + strings.ReplaceAll(text, `"`, `""`) + `",,`,
		`{"timestamp":"t","user":"u","pid":7,"error_severity":"LOG","message":"` + strings.ReplaceAll(text, `"`, `\"`) + `"}`,
		`{"timestamp":"t","pid":7,"error_severity":"DEBUG","message":"` + strings.ReplaceAll(text, `"`, `\"`) + `"}`,
	} {
		_, ok := parseChange([]byte(quoted), true)
		require.False(t, ok, quoted)
	}
}

func TestWhichChangesAreUnsafe(t *testing.T) {
	other := []string{"other"}
	for _, c := range []struct {
		change
		standbys []string
		want     string
	}{
		{change{name: settingNames, value: "walhaven"}, other, ""},
		{change{name: settingNames}, nil, "synchronous_standby_names was ''"},
		{change{name: settingNames, value: "other"}, nil, "synchronous_standby_names was 'other'"},
		{change{name: settingNames, value: "walhaven, x", cut: true}, nil, "synchronous_standby_names was 'walhaven, x...'"},
		{change{name: settingNames, value: "ANY 1 (walhaven, other)"}, nil, ""},
		{change{name: settingNames, value: "ANY 1 (walhaven, other)"}, other, "synchronous_standby_names was 'ANY 1 (walhaven, other)'"},
		{change{name: settingLevel, value: "Remote_Write"}, nil, ""},
		{change{name: settingLevel, value: "TRUE"}, nil, ""},
		{change{name: settingLevel, value: "0"}, nil, "synchronous_commit was 0"},
		{change{name: settingLevel, value: "local"}, nil, "synchronous_commit was local"},
		{change{name: settingLevel, value: "on", cut: true}, nil, "synchronous_commit was on..."},
	} {
		require.Equal(t, c.want, c.unsafe(nil, c.standbys), "%+v", c)
		require.Equal(t, c.want, c.unsafe(c.standbys, nil), "%+v", c)
	}
	long := change{name: settingNames, value: strings.Repeat("ä", maxShown)}.unsafe()
	require.Less(t, len(long), maxShown+50)
}

// A log's changes are the same however it is cut.
func FuzzChanges(f *testing.F) {
	for _, form := range logForms {
		text, err := os.ReadFile("testdata/serverlog/18." + form)
		require.NoError(f, err)
		text = text[:2000] // shorter ones are tried more often
		f.Add(text, uint16(len(text)/2), form != "log")
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, quoted bool) {
		whole, cut := logScan{quoted: quoted}, logScan{quoted: quoted}
		n := min(int(at), len(b))
		whole.feed(b)
		cut.feed(b[:n])
		cut.feed(b[n:])
		list := whole.take()
		if got := cut.take(); !slices.Equal(got, list) {
			t.Fatalf("%+v in two parts, %+v in one", got, list)
		}
		for _, c := range list {
			if c.name != settingNames && c.name != settingLevel || len(c.unsafe(nil)) > maxShown+50 {
				t.Fatalf("%+v", c)
			}
		}
	})
}
