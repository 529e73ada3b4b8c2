package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/internal/disposable"
	"github.com/walhaven/walhaven/test/cluster"
)

// TestDisposableCompute has PostgreSQL without fsync killed, stopped, and lose
// its machine. Only the last one condemns the data directory, and what the
// refusal says brings every acknowledged row back.
func TestDisposableCompute(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{Disposable: true})
	dir := c.Postgres.DataDir
	value := func(sql string) string {
		t.Helper()
		v, err := c.Server.QueryValue(ctx, sql)
		require.NoError(t, err)
		return v
	}
	require.Equal(t, "off", value("SHOW fsync"))
	require.Equal(t, "on", value("SHOW full_page_writes"))
	require.FileExists(t, filepath.Join(dir, disposable.MarkerName))
	require.NoFileExists(t, filepath.Join(c.Dir(), "base", disposable.MarkerName))
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE t AS SELECT 1 AS i"))

	// A killed server loses nothing: the kernel has its writes.
	require.NoError(t, c.Server.Kill())
	c.Kill("walproposer")
	text, code := c.Walhaven("up", "--detach", "--dir", c.Dir())
	require.Zero(t, code, text)
	require.Contains(t, text, "primary: it holds all WAL of the quorum")
	require.Equal(t, "off", value("SHOW fsync"))

	// Stopped in order it is as good as any.
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (2)"))
	text, code = c.Walhaven("down", "--dir", c.Dir())
	require.Zero(t, code, text)
	require.Contains(t, text, "syncfs")
	require.NoFileExists(t, filepath.Join(dir, disposable.MarkerName))
	text, code = c.Walhaven("up", "--detach", "--dir", c.Dir())
	require.Zero(t, code, text)
	require.FileExists(t, filepath.Join(dir, disposable.MarkerName))
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (3)"))

	// The machine crashes: everything else comes up again.
	require.NoError(t, c.Server.Stop(ctx, compute.Immediate))
	c.Kill("walproposer")
	before, err := disposable.Read(dir)
	require.NoError(t, err)
	before.Boot = "0f5d6c1e-6a53-4c5e-9a51-6b2f0c8a7d11"
	require.NoError(t, disposable.Write(dir, *before))
	for range 2 { // asking again does not help
		text, code = c.Walhaven("up", "--detach", "--dir", c.Dir())
		require.NotZero(t, code, text)
		require.Contains(t, text, "must not be started: a server ran here with fsync = off")
		require.Contains(t, text, "the machine was started anew since")
		require.Contains(t, text, "put a copy of a base backup in its place")
		require.Zero(t, c.Server.PID())
	}

	// What the hint says.
	require.NoError(t, os.Rename(dir, dir+".lost"))
	out, err := exec.Command("cp", "-a", filepath.Join(c.Dir(), "base"), dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	text, code = c.Walhaven("up", "--detach", "--dir", c.Dir())
	require.Zero(t, code, text)
	require.Contains(t, text, "pg_promote()")
	c.Server = reopen(t, c)
	require.Equal(t, "1,2,3", value("SELECT string_agg(i::text, ',' ORDER BY i) FROM t"))
	require.Equal(t, "off", value("SHOW fsync"), "as fast as before")
	require.FileExists(t, filepath.Join(dir, disposable.MarkerName))
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (4)"))
}

func reopen(t *testing.T, c *cluster.Cluster) *compute.Server {
	t.Helper()
	s, err := compute.Open(compute.OpenOptions{Install: c.Server.Install(), DataDir: c.Postgres.DataDir})
	require.NoError(t, err)
	return s
}
