// Package interop shows that PostgreSQL's own programs work with walhaven as
// typed: pg_waldump on a safekeeper's files, pg_receivewal and a stock standby
// on a safekeeper's port, psql on everything.
package interop

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

func TestMain(m *testing.M) {
	computetest.Watch()
	code := m.Run()
	cluster.RemovePrograms()
	os.Exit(code)
}

// TestTools runs one cluster through every tool, since starting it is what
// costs.
func TestTools(t *testing.T) {
	c := cluster.New(t, cluster.Options{Bench: time.Second})
	t.Run("pg_waldump", func(t *testing.T) { waldump(t, c) })
	t.Run("pg_receivewal", func(t *testing.T) { receivewal(t, c) })
	t.Run("standby", func(t *testing.T) { standby(t, c) })
	t.Run("psql", func(t *testing.T) { psql(t, c) })
	t.Run("metrics", func(t *testing.T) { metrics(t, c) })
}

// closedSegments returns the names of PostgreSQL's complete segments that every
// safekeeper must have, oldest first.
func closedSegments(t *testing.T, c *cluster.Cluster, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		if _, _, err := wal.DefaultSegmentSize.ParseFileName(e.Name()); err == nil {
			names = append(names, e.Name())
		}
	}
	require.NotEmpty(t, names, "closed segments in %s", dir)
	return names
}

func safekeeperDir(c *cluster.Cluster, id int) string {
	return filepath.Join(c.Safekeepers[id-1].DataDir, c.Tenant.String(), c.Timeline.String())
}

// waldump reads each safekeeper's closed segments with PostgreSQL's program and
// compares what it prints with what it prints of PostgreSQL's own files.
func waldump(t *testing.T, c *cluster.Cluster) {
	for id := range c.Safekeepers {
		dir := safekeeperDir(c, id+1)
		names := closedSegments(t, c, dir)
		for _, name := range names {
			own := filepath.Join(c.Postgres.DataDir, "pg_wal", name)
			if _, err := os.Stat(own); err != nil {
				continue // recycled by PostgreSQL; the safekeeper keeps it longer
			}
			require.Equal(t, dump(t, c, own), dump(t, c, filepath.Join(dir, name)), "safekeeper %d, %s", id+1, name)
		}
		t.Logf("safekeeper %d: %d closed segments", id+1, len(names))
	}
}

// dump prints one segment. pg_waldump needs a first record, so a segment that
// begins inside one is read from the next; where it stops is part of the text.
func dump(t *testing.T, c *cluster.Cluster, path string) string {
	t.Helper()
	out, _ := tool(context.Background(), t, c, "pg_waldump", path).CombinedOutput()
	text := strings.ReplaceAll(string(out), filepath.Dir(path), "DIR")
	require.Contains(t, text, "rmgr:", "%s", text)
	return text
}

// receivewal is what a user types: host, port and a password. Its files must be
// PostgreSQL's own.
func receivewal(t *testing.T, c *cluster.Cluster) {
	dir := computetest.TempDir(t)
	host, port, _ := strings.Cut(c.Safekeepers[0].PG, ":")
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Deadline)
	defer cancel()
	const segments = 3
	end := wal.DefaultSegmentSize.SegmentStart(currentLSN(t, c)) + wal.LSN(segments*wal.DefaultSegmentSize)
	var out bytes.Buffer
	cmd := tool(ctx, t, c, "pg_receivewal",
		"-h", host, "-p", port, "-U", c.User, "-D", dir, "--no-loop", "--endpos", end.String())
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	// It begins at the start of the segment that is open when it connects.
	c.Eventually("pg_receivewal streams", func() bool {
		entries, err := os.ReadDir(dir)
		return err == nil && len(entries) > 0
	})
	advance(t, c, segments)
	require.NoError(t, cmd.Wait(), "%s", &out)
	compared := 0
	for _, name := range closedSegments(t, c, dir) {
		require.Equal(t, read(t, filepath.Join(c.Postgres.DataDir, "pg_wal", name)), read(t, filepath.Join(dir, name)), name)
		compared++
	}
	require.GreaterOrEqual(t, compared, segments-1, "segments compared")
	t.Logf("%d segments identical", compared)
}

func currentLSN(t *testing.T, c *cluster.Cluster) wal.LSN {
	t.Helper()
	text, err := c.Server.QueryValue(context.Background(), "SELECT pg_current_wal_lsn()")
	require.NoError(t, err)
	lsn, err := wal.ParseLSN(text)
	require.NoError(t, err)
	return lsn
}

// advance closes n segments with something in each.
func advance(t *testing.T, c *cluster.Cluster, n int) {
	t.Helper()
	for range n {
		_, err := c.Server.Query(context.Background(), "SELECT pg_logical_emit_message(true, 'interop', repeat('x', 100000)); SELECT pg_switch_wal()")
		require.NoError(t, err)
	}
}

// standby starts a stock server from the base backup that follows a safekeeper
// and answers queries.
func standby(t *testing.T, c *cluster.Cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Deadline)
	defer cancel()
	follower := c.Standby(c.Safekeepers[1].PG)
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE followed AS SELECT generate_series(1, 1000) AS i"))
	c.Eventually("the standby has the rows", func() bool {
		n, err := follower.QueryValue(ctx, "SELECT count(*) FROM followed")
		return err == nil && n == "1000"
	})
	state, err := follower.QueryValue(ctx, "SELECT status FROM pg_stat_wal_receiver")
	require.NoError(t, err)
	require.Equal(t, "streaming", state)
}

// psql asks a safekeeper and the pageserver what people would ask.
func psql(t *testing.T, c *cluster.Cluster) {
	for _, ask := range []struct{ address, sql, want string }{
		{c.Safekeepers[0].PG, "TIMELINE_STATUS", "commit_lsn"},
		{c.Safekeepers[0].PG, "SHOW TIMELINES", c.Timeline.String()},
		{c.Safekeepers[0].PG, "SHOW MEMBERS", c.Safekeepers[2].PG},
		{c.Safekeepers[0].PG, "SHOW SENDERS", "pageserver"},
		{c.Safekeepers[0].PG, "SHOW RECEIVERS", "walhaven"},
		{c.Safekeepers[0].PG, "SHOW SLOTS", "slot_name"},
		{c.Safekeepers[0].PG, "SHOW server_version", serverVersion(t, c)},
		{c.Safekeepers[0].PG, "SHOW ALL", "data_dir"},
		{c.Safekeepers[0].PG, "HELP", "TIMELINE_STATUS"},
		{c.Safekeepers[0].PG, "SELECT version()", "PostgreSQL"},
		{c.Pageservers[0].PG, "SHOW TIMELINES", c.Timeline.String()},
		{c.Pageservers[0].PG, "SHOW RECEIVERS", "safekeeper"},
	} {
		host, port, _ := strings.Cut(ask.address, ":")
		cmd := tool(context.Background(), t, c, "psql", "-X", "-h", host, "-p", port, "-U", c.User, "-d", "postgres", "-c", ask.sql)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", ask.sql, out)
		require.Contains(t, string(out), ask.want, ask.sql)
	}
}

// tool prepares a client program of the cluster's PostgreSQL, or of a newer major
// where its own package has none; pg_waldump reads its own major only.
func tool(ctx context.Context, t *testing.T, c *cluster.Cluster, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd, err := c.Server.Install().Command(ctx, name, args...)
	if err != nil {
		t.Skipf("no %s that fits PostgreSQL %s here: %v", name, serverVersion(t, c), err)
	}
	cmd.SysProcAttr = nil // as ourselves, whose files these are
	cmd.Env = append(cmd.Env, "PGPASSWORD="+password(t, c))
	return cmd
}

func serverVersion(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	v, err := c.Server.QueryValue(context.Background(), "SHOW server_version_num")
	require.NoError(t, err)
	n, err := strconv.Atoi(v)
	require.NoError(t, err)
	return strconv.Itoa(n / 10000)
}

func password(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	return strings.TrimSpace(string(read(t, c.PasswordFile)))
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}
