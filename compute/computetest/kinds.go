package computetest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/walhaven/walhaven/compute"
)

// KindsSQL is the folder of scripts that reach each kind of record, as a package
// two levels below the module's root names it.
const KindsSQL = "../compute/computetest/testdata/kinds"

// TruncateSLRUs is the script in KindsSQL that cuts the front off each SLRU. It
// takes as long as all others together.
const TruncateSLRUs = "17_truncate_slru.sql"

// Unreached are the kinds of record that the scripts in KindsSQL do not reach,
// each with the reason.
var Unreached = map[string]string{
	"XLOG/NOOP":                 "PostgreSQL has no code that writes it",
	"XLOG/END_OF_RECOVERY":      "begins a timeline: TestTimelineSwitch of ingest",
	"XLOG/OVERWRITE_CONTRECORD": "a crash within a record: TestOverwrittenRecordIsAGap of ingest",
	"Gist/ASSIGN_LSN":           "wal_level=minimal only, of which neither safekeepers nor standbys take WAL",
	"Heap/HOT_UPDATE+INIT":      "a HOT update stays on its page, which is not new then",
}

// RunScripts runs pgbench with four clients, and then the psql scripts of a
// folder in the order of their names, but those named. Before the last script it
// restarts the server twice, so that some is written with full_page_writes turned
// round, and afterwards it writes some 100 records more.
func RunScripts(t testing.TB, server *compute.Server, dir string, without ...string) {
	t.Helper()
	ctx := t.Context()
	must := func(out string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	must("", server.Exec(ctx, "CHECKPOINT"))
	must("", server.Exec(ctx, "CREATE DATABASE redo"))
	must(server.Pgbench(ctx, "-i", "-q", "-s", "5", "redo"))
	must(server.Pgbench(ctx, "-c", "4", "-t", "1500", "redo"))
	strategy := "1"
	if server.Install().Version.Major == 14 {
		strategy = "0"
	}
	scripts, err := filepath.Glob(filepath.Join(dir, "*.sql"))
	must("", err)
	if len(scripts) == 0 {
		t.Fatalf("no script in %s", dir)
	}
	copied := filepath.Join(TempDir(t), "script.sql")
	for i, script := range scripts {
		if i == len(scripts)-1 {
			must("", withOtherImages(ctx, server))
		}
		if slices.Contains(without, filepath.Base(script)) {
			continue
		}
		text, err := os.ReadFile(script)
		must("", err)
		// Where the account that psql runs as can read it.
		must("", os.WriteFile(copied, text, 0o644))
		out, err := server.Psql(ctx, "-d", "redo", "-v", "tsdir=", "-v", "has_strategy="+strategy,
			"-v", "copyfile="+filepath.Join(server.DataDir(), "kinds-copy"), "-f", copied)
		if err != nil {
			t.Fatalf("%s: %v\n%.2000s", script, err, out)
		}
	}
	must("", server.Exec(ctx, "CREATE TABLE afterwards (i int); INSERT INTO afterwards SELECT generate_series(1, 100)"))
}

// withOtherImages writes with full_page_writes turned round, and with another
// parameter that standbys hear of.
func withOtherImages(ctx context.Context, server *compute.Server) error {
	const setting = "full_page_writes"
	was, err := server.QueryValue(ctx, "SHOW "+setting)
	if err != nil {
		return err
	}
	other := map[string]string{"on": "off", "off": "on"}[was]
	for _, value := range []string{other, was} {
		if err := server.Exec(ctx, "CREATE TABLE IF NOT EXISTS images AS SELECT 1 AS i; UPDATE images SET i = i + 1"); err != nil {
			return err
		}
		if err := server.Set(ctx, map[string]string{setting: value, "max_worker_processes": "9"}); err != nil {
			return err
		}
		if err := server.Restart(ctx, compute.Fast, compute.StartOptions{}); err != nil {
			return err
		}
	}
	return server.Exec(ctx, "DROP TABLE images")
}
