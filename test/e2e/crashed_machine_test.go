package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// TestUpAfterACrashOfTheMachine takes from PostgreSQL's disk the last WAL that the
// quorum has, as a crash of the machine may where WAL is pushed early, which is so in
// a new cluster. `up` has it follow the safekeepers and promotes it: every row that was
// acknowledged is there.
func TestUpAfterACrashOfTheMachine(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	early := c.Walproposer.EarlyPush // but where the environment wants none
	// No checkpoint comes in between: it would flush what is cut off here.
	require.NoError(t, c.Server.Set(ctx, map[string]string{"checkpoint_timeout": "1h"}))
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE t AS SELECT 1 AS i"))
	requireEarlyPush(t, c, early)
	flushed := lsnOf(t, c, "SELECT pg_current_wal_flush_lsn()")
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (2), (3)"))
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (4)"))
	require.NoError(t, c.Server.Kill())
	c.Kill("walproposer")
	size := wal.DefaultSegmentSize
	path := filepath.Join(c.Postgres.DataDir, "pg_wal", size.FileName(1, size.SegmentNo(flushed)))
	require.NoError(t, os.Truncate(path, int64(size.Offset(flushed))))
	require.NoError(t, os.Truncate(path, int64(size)))

	text, code := c.Walhaven("up", "--detach", "--dir", c.Dir())
	require.Zero(t, code, text)
	require.Contains(t, text, "standby: its WAL ends at")
	require.Contains(t, text, "pg_promote()")
	rows, err := c.Server.QueryValue(ctx, "SELECT string_agg(i::text, ' ' ORDER BY i) FROM t")
	require.NoError(t, err)
	require.Equal(t, "1 2 3 4", rows)
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (5)"), "commits go on, on the next timeline")
	requireState(t, c, operator.StateSafe)
	requireEarlyPush(t, c, early)
}

// requireEarlyPush: the walproposer pushes WAL before PostgreSQL has flushed it, or not.
func requireEarlyPush(t *testing.T, c *cluster.Cluster, on bool) {
	t.Helper()
	line := "\nwalhaven_walproposer_early_push_on 0\n"
	if on {
		line = "\nwalhaven_walproposer_early_push_on 1\n"
	}
	require.Eventually(t, func() bool {
		_, text := cluster.Get(t, "http://"+c.Walproposer.HTTP+"/metrics")
		return strings.Contains(text, line)
	}, cluster.Deadline, 50*time.Millisecond, "early push on: %t", on)
}
