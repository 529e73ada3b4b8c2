package redo

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// TestOracle lets a server write WAL with images of every page that a record
// changed, and compares redo with them; with WALHAVEN_ORACLE_MAJORS=all, one of
// each version on this machine. WALHAVEN_ORACLE_SQL=kinds runs the scripts that
// reach each kind of record instead, which write gigabytes.
func TestOracle(t *testing.T) {
	passes := []oraclePass{
		{name: "replica", write: runWorkload, must: func(int) []string { return mustReach }},
		{name: "logical", opt: Options{WALLogHints: true}, write: runWorkloadAmongClients},
	}
	if os.Getenv("WALHAVEN_ORACLE_SQL") == "kinds" {
		passes = []oraclePass{{name: "logical", opt: Options{WALLogHints: true}, write: runKinds, must: kindsOfScripts}}
	}
	computetest.EachServer(t, computetest.AllMajors(), func(t *testing.T, install compute.Install) {
		for _, pass := range passes {
			t.Run(pass.name, func(t *testing.T) { pass.run(t, install) })
		}
	})
}

// oraclePass is a server of the oracle. At wal_level replica updates say only what
// differs; without hints in the log VISIBLE stamps no heap page.
type oraclePass struct {
	name  string // the wal_level
	opt   Options
	write func(t *testing.T, server *compute.Server)
	must  func(major int) []string // kinds of record to be reached; nil: whatever comes
}

func runWorkload(t *testing.T, server *compute.Server) {
	computetest.RunScript(t, server, "testdata/workload.sql")
}

// runWorkloadAmongClients runs the workload while pgbench's clients write the pages
// of its tables in turns.
func runWorkloadAmongClients(t *testing.T, server *compute.Server) {
	_, err := server.Pgbench(t.Context(), "-i", "-q", "-s", "1")
	require.NoError(t, err)
	var clients errgroup.Group
	clients.Go(func() error {
		_, err := server.Pgbench(t.Context(), "-c", "4", "-t", "1000", "-n")
		return err
	})
	runWorkload(t, server)
	require.NoError(t, clients.Wait())
}

func runKinds(t *testing.T, server *compute.Server) {
	computetest.RunScripts(t, server, computetest.KindsSQL, computetest.TruncateSLRUs)
}

// kindsOfScripts are all kinds of record but those with a reason, and those of the
// script without pages that runKinds leaves to ingest's oracle.
func kindsOfScripts(major int) []string {
	return slices.DeleteFunc(walrecord.Kinds(major), func(kind string) bool {
		return computetest.Unreached[kind] != "" || kind == "CLOG/TRUNCATE" || kind == "CommitTs/TRUNCATE" || kind == "MultiXact/TRUNCATE_ID"
	})
}

func (pass oraclePass) run(t *testing.T, install compute.Install) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	hints := "off"
	if pass.opt.WALLogHints {
		hints = "on"
	}
	server := computetest.New(t, computetest.Options{
		Major: install.Version.Major, Settings: map[string]string{
			"wal_level": pass.name, "wal_consistency_checking": "all", "wal_log_hints": hints,
			"wal_keep_size": "40GB", "max_wal_size": "40GB", "synchronous_commit": "off",
			"max_prepared_transactions": "20", "allow_in_place_tablespaces": "on", "track_commit_timestamp": "on",
			"max_locks_per_transaction": "512", "max_wal_senders": "5",
		},
	})
	begin := redoPointer(t, ctx, server)
	pass.write(t, server)
	require.NoError(t, server.Stop(ctx, compute.Fast))

	read := func(k *oracle) (mains, maps int) {
		readFolder(t, filepath.Join(server.DataDir(), "pg_wal"), begin, func(r *walrecord.Record, _ []byte) { k.record(r) })
		return k.compareFiles(t, server.DataDir())
	}
	k := newOracle(pass.opt)
	mains, maps := read(k)
	t.Logf("%s, wal_level=%s: %d records, %d blocks compared, %d failed\n%s", install.Version, pass.name, k.records, k.compared(), k.failed, k.table())
	t.Logf("compared with files: %d pages, %d pages of maps", mains, maps)
	require.Greater(t, mains, 400)
	require.Greater(t, maps, 3)
	for _, f := range k.failures {
		t.Error(f)
	}
	require.Greater(t, k.compared(), 20_000)
	if pass.must != nil {
		for _, kind := range pass.must(install.Version.Major) {
			k.mustHave(t, kind)
		}
	}
	if clears := k.clears; clears > 0 {
		k = nil // Its pages are many.
		deaf := newOracle(pass.opt)
		deaf.deaf, deaf.blind = true, true
		read(deaf)
		require.NotZero(t, deaf.failed, "the files show bits that nobody took off the map")
	}
}

// mustHave asks for a record of a kind and, if it changes pages, for one that was
// compared with its image or restored from it.
func (k *oracle) mustHave(t *testing.T, kind string) {
	t.Helper()
	manager, _, _ := strings.Cut(kind, "/")
	count := k.kinds[kind]
	switch {
	case count == nil:
		t.Errorf("the workload does not reach %s", kind)
	case withoutPages[kind] != "" || withoutPages[manager] != "":
	case count.compared+count.restored == 0, !imagesOnly[kind] && count.compared == 0:
		t.Errorf("no page of %s is compared", kind)
	}
}

// mustReach are kinds of which the workload writes some on every version.
var mustReach = []string{
	"Heap/INSERT", "Heap/INSERT+INIT", "Heap/DELETE", "Heap/UPDATE", "Heap/HOT_UPDATE", "Heap/HEAP_CONFIRM", "Heap/LOCK", "Heap/INPLACE",
	"Heap2/MULTI_INSERT", "Heap2/VISIBLE", "Btree/INSERT_LEAF", "Btree/SPLIT_R", "Btree/DEDUP", "Btree/VACUUM", "Btree/UNLINK_PAGE",
	"Hash/INSERT", "Hash/ADD_OVFL_PAGE", "Gin/INSERT", "Gin/UPDATE_META_PAGE", "Gist/PAGE_UPDATE", "Gist/PAGE_SPLIT",
	"SPGist/ADD_LEAF", "SPGist/PICKSPLIT", "BRIN/INSERT", "BRIN/SAMEPAGE_UPDATE", "Sequence/LOG",
}

// redoPointer makes a checkpoint and returns where redo would begin: from there
// on the first change of each page comes with an image to restore.
func redoPointer(t *testing.T, ctx context.Context, server *compute.Server) wal.LSN {
	t.Helper()
	require.NoError(t, server.Exec(ctx, "checkpoint"))
	return computetest.LSN(t, server, "select redo_lsn from pg_control_checkpoint()")
}
