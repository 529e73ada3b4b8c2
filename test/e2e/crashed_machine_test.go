package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// TestUpAfterACrashOfTheMachine takes from PostgreSQL's disk the last WAL that the
// quorum has, as a crash of the machine may when WAL is pushed early. `up` fetches it,
// and the server is the primary that it was.
func TestUpAfterACrashOfTheMachine(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE t AS SELECT 1 AS i"))
	flushed := lsnOf(t, c, "SELECT pg_current_wal_flush_lsn()")
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (2), (3)"))
	require.NoError(t, c.Server.Kill())
	c.Kill("walproposer")
	size := wal.DefaultSegmentSize
	path := filepath.Join(c.Postgres.DataDir, "pg_wal", size.FileName(1, size.SegmentNo(flushed)))
	require.NoError(t, os.Truncate(path, int64(size.Offset(flushed))))
	require.NoError(t, os.Truncate(path, int64(size)))

	text, code := c.Walhaven("up", "--detach", "--dir", c.Dir())
	require.Zero(t, code, text)
	require.Contains(t, text, "check --fetch-wal")
	require.Contains(t, text, "primary: it holds all WAL of the quorum")
	require.NotContains(t, text, "pg_promote()")
	n, err := c.Server.QueryValue(ctx, "SELECT count(*) FROM t")
	require.NoError(t, err)
	require.Equal(t, "3", n)
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (4)"))
	requireState(t, c, operator.StateSafe)
}
