package redo

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// TestOracle lets a server write WAL with images of every page that a record
// changed, and compares redo with them; with WALHAVEN_ORACLE_MAJORS=all, one of
// each version on this machine. At wal_level replica
// updates say only what differs; without hints in the log VISIBLE stamps no heap
// page.
func TestOracle(t *testing.T) {
	computetest.EachServer(t, computetest.AllMajors(), oracleOnServer)
}

func oracleOnServer(t *testing.T, install compute.Install) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	server := computetest.New(t, computetest.Options{
		Major: install.Version.Major, Settings: map[string]string{
			"wal_level": "replica", "wal_consistency_checking": "all", "wal_log_hints": "off",
			"wal_keep_size": "4GB", "max_wal_size": "4GB", "synchronous_commit": "off",
		},
	})
	begin := redoPointer(t, ctx, server)
	computetest.RunScript(t, server, "testdata/workload.sql")
	require.NoError(t, server.Stop(ctx, compute.Fast))

	read := func(k *oracle) (mains, maps int) {
		readFolder(t, filepath.Join(server.DataDir(), "pg_wal"), begin, func(r *walrecord.Record, _ []byte) { k.record(r) })
		return k.compareFiles(t, server.DataDir())
	}
	k := newOracle(Options{})
	mains, maps := read(k)
	t.Logf("%s: %d records\n%s", install.Version, k.records, k.table())
	t.Logf("compared with files: %d pages, %d pages of maps", mains, maps)
	require.Greater(t, mains, 400)
	require.Greater(t, maps, 3)
	for _, f := range k.failures {
		t.Error(f)
	}
	if k.clears > 0 {
		deaf := newOracle(Options{})
		deaf.deaf, deaf.blind = true, true
		read(deaf)
		require.NotZero(t, deaf.failed, "the files show bits that nobody took off the map")
	}
	require.Greater(t, k.compared(), 20_000)
	for _, kind := range mustReach {
		require.NotZero(t, k.kinds[kind], "the workload does not reach %s", kind)
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
