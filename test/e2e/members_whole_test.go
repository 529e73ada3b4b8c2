package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// TestReplacedSafekeeperIsWhole measures how long a safekeeper that lost its disk
// takes to be a member again, for each GiB of WAL that it has to pull while commits
// go on. How much there is can be chosen, in MiB, with WALHAVEN_REPLACE_MIB.
func TestReplacedSafekeeperIsWhole(t *testing.T) {
	t.Parallel()
	if os.Getenv("WALHAVEN_TEST_LONG") == "" {
		t.Skip("a measurement: in a long run")
	}
	// Less than --wal-keep-size, so that all of it is still there.
	mib, err := strconv.Atoi(cmp.Or(os.Getenv("WALHAVEN_REPLACE_MIB"), "768"))
	require.NoError(t, err)
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	first := positionOf(t, c.Server, "SELECT pg_current_wal_flush_lsn()")
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE filler (v text)"))
	end := first
	for end < first+wal.LSN(mib)<<20 {
		require.NoError(t, c.Server.Exec(ctx, "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 25000)"))
		end = positionOf(t, c.Server, "SELECT pg_current_wal_flush_lsn()")
	}
	c.Eventually("all have everything", func() bool { return c.CollectStatus(ctx).State == operator.StateSafe })

	lost := c.Safekeepers[0]
	c.Kill("safekeeper-1")
	require.NoError(t, os.RemoveAll(lost.DataDir))
	c.Start("safekeeper-1")
	w := c.StartWriter(4)
	w.Await(50)
	began := time.Now()
	out, err := exec.CommandContext(t.Context(), filepath.Join(cluster.Programs(t), "walhaven"),
		"--cluster", c.Dir(), "member", "replace", "1", lost.PG, "-o", "json").Output()
	require.NoError(t, err, "%s", out)
	took := time.Since(began)
	var m operator.Members
	require.NoError(t, json.Unmarshal(out, &m), "%s", out)
	commits := w.Count()
	require.Empty(t, w.Failures())
	w.Stop()
	sameBytes(t, c)
	gib := float64(end-first) / (1 << 30)
	t.Logf("%.2f GiB of WAL: whole after %s, %.1f s a GiB, with %d commits meanwhile", gib, took.Round(time.Millisecond), took.Seconds()/gib, commits)
}
