package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// TestUpOnAnOlderCopy puts an older copy of the data directory in the primary's
// place, as a restored snapshot is. Started as it is it would write over what was
// acknowledged; `up` has it follow the safekeepers and promotes it.
func TestUpOnAnOlderCopy(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE t AS SELECT 1 AS i"))
	text, code := c.Walhaven("down", "--dir", c.Dir())
	require.Zero(t, code, text)
	copied := filepath.Join(computetest.TempDir(t), "copy")
	out, err := exec.Command("cp", "-a", c.Postgres.DataDir, copied).CombinedOutput()
	require.NoError(t, err, "%s", out)

	text, code = c.Walhaven("up", "--detach", "--dir", c.Dir())
	require.Zero(t, code, text)
	require.Contains(t, text, "primary: it holds all WAL of the quorum")
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (2), (3)"))
	require.NoError(t, c.Server.Stop(ctx, compute.Immediate))
	c.Kill("walproposer")

	require.NoError(t, os.RemoveAll(c.Postgres.DataDir))
	require.NoError(t, os.Rename(copied, c.Postgres.DataDir))
	text, code = c.Walhaven("up", "--detach", "--dir", c.Dir())
	require.Zero(t, code, text)
	require.Contains(t, text, "standby: its WAL ends at")
	require.Contains(t, text, "pg_promote()")
	n, err := c.Server.QueryValue(ctx, "SELECT count(*) FROM t")
	require.NoError(t, err)
	require.Equal(t, "3", n)
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (4)"), "commits go on, on the next timeline")
	requireState(t, c, operator.StateSafe)
}
