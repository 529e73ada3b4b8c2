package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/test/cluster"
)

// TestOperator goes through what an operator types at a healthy cluster, and
// what programs rely on.
func TestOperator(t *testing.T) {
	c := cluster.New(t, cluster.Options{Bench: time.Second})
	t.Run("status for programs", func(t *testing.T) { statusJSON(t, c) })
	t.Run("status for people", func(t *testing.T) {
		out, code := c.Walhaven("status")
		require.Zero(t, code, out)
		require.Regexp(t, `^SAFE since \S+ \(.*\): every safekeeper acknowledges`, out)
	})
	t.Run("check", func(t *testing.T) {
		out, code := c.Walhaven("check")
		require.Zero(t, code, out)
		require.NotContains(t, out, "FAILED")
		out, code = c.Walhaven("check", "--nagios")
		require.Zero(t, code, out)
		require.Regexp(t, `^WALHAVEN OK - SAFE: .* \| safekeeper_1_lag=0B`, out)
	})
	t.Run("wal get", func(t *testing.T) { walGet(t, c) })
	t.Run("safekeepers alone", func(t *testing.T) { safekeepersAlone(t, c) })
	t.Run("receipts", func(t *testing.T) { receipts(t, c) })
	t.Run("the past", func(t *testing.T) { thePast(t, c) })
	t.Run("token", func(t *testing.T) { token(t, c) })
	t.Run("a user who only reads", func(t *testing.T) { onlyReads(t, c) })
	t.Run("waldump", func(t *testing.T) { waldumpJSON(t, c) })
	t.Run("usage", func(t *testing.T) {
		_, code := c.Walhaven("stauts")
		require.Equal(t, 2, code)
		_, code = c.Walhaven("wal", "get", "--clustre", "x", "a", "b")
		require.Equal(t, 126, code, "a typo in restore_command must stop recovery, not end it")
	})
	t.Run("a second up resumes", func(t *testing.T) { resume(t, c) })
}

// statusJSON compares the fields with what issue and documentation promise.
func statusJSON(t *testing.T, c *cluster.Cluster) {
	out, code := c.Walhaven("status", "--dir", c.Dir(), "-o", "json")
	require.Zero(t, code, out)
	var s map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &s))
	has := func(m any, fields ...string) map[string]any {
		object, ok := m.(map[string]any)
		require.True(t, ok, "%v", m)
		for _, f := range fields {
			require.Contains(t, object, f)
		}
		return object
	}
	has(s, "commit_lsn", "term", "postgres", "walproposer", "safekeepers", "pageservers", "tenant_id", "timeline_id")
	lsn := regexp.MustCompile(`^[0-9A-F]+/[0-9A-F]+$`)
	require.Regexp(t, lsn, s["commit_lsn"])
	require.EqualValues(t, 1, s["term"])
	require.Equal(t, c.Tenant.String(), s["tenant_id"])
	has(s["postgres"], "conninfo", "pid", "data_dir", "version")
	w := has(s["walproposer"], "http", "pid", "tap_pid", "push_pids")
	requirePIDs(t, c, w)
	safekeepers := s["safekeepers"].([]any)
	require.Len(t, safekeepers, 3)
	for _, sk := range safekeepers {
		m := has(sk, "id", "pg", "http", "pid", "data_dir", "term", "flush_lsn", "commit_lsn", "lag_bytes")
		require.Regexp(t, lsn, m["flush_lsn"])
		require.Positive(t, m["pid"])
	}
	for _, ps := range s["pageservers"].([]any) {
		m := has(ps, "id", "pg", "http", "pid", "data_dir", "last_record_lsn", "disk_consistent_lsn", "lag_bytes", "lag_seconds")
		require.Regexp(t, lsn, m["last_record_lsn"])
	}
}

// requirePIDs: the supervisor, the tap and a push worker for each safekeeper are
// named, and are a process each; as one process they are named as that.
func requirePIDs(t *testing.T, c *cluster.Cluster, w map[string]any) {
	pids := append(w["push_pids"].([]any), w["tap_pid"], w["pid"])
	if c.Walproposer.InProcess {
		require.Equal(t, []any{w["pid"], w["pid"], w["pid"]}, pids)
	} else {
		require.Len(t, pids, 5)
	}
	for i, pid := range pids {
		require.NoError(t, syscall.Kill(int(pid.(float64)), 0))
		if !c.Walproposer.InProcess {
			require.NotContains(t, pids[:i], pid, "a process each")
		}
	}
}

// token logs in with what the command prints, once.
func token(t *testing.T, c *cluster.Cluster) {
	ctx := context.Background()
	ask := func(conninfo, sql string) (int, error) {
		rows, err := replication.Query(ctx, strings.TrimSpace(conninfo), sql, replication.DialOptions{})
		return len(rows), err
	}
	out, code := c.Walhaven("token")
	require.Zero(t, code, out)
	n, err := ask(out, "TIMELINE_STATUS")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = ask(out, "TIMELINE_STATUS")
	require.Equal(t, "28P01", protocol.SQLState(err), "it opens one connection: %v", err)

	out, code = c.Walhaven("token", "--pageserver", "1", "--expires-in", "10m", "-o", "json")
	require.Zero(t, code, out)
	var made operator.Token
	require.NoError(t, json.Unmarshal([]byte(out), &made))
	require.Equal(t, c.Pageservers[0].PG, made.Address)
	_, err = ask(made.Conninfo, "CREATE TOKEN")
	require.Error(t, err, "it cannot make another")
	out, code = c.Walhaven("token", "--safekeeper", "9")
	require.Equal(t, 1, code, out)
}

// walGet fetches a closed segment, the open one, one that is not there yet, and
// history files that are not, with the exit codes of restore_command.
func walGet(t *testing.T, c *cluster.Cluster) {
	ctx := context.Background()
	dir := t.TempDir()
	rows, err := c.Server.Query(ctx, "SELECT pg_walfile_name(lsn) FROM (SELECT pg_switch_wal() AS lsn) s")
	require.NoError(t, err)
	closed := rows[0][0]
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE after_switch ()"))
	rows, err = c.Server.Query(ctx, "SELECT pg_walfile_name(pg_current_wal_flush_lsn()), pg_walfile_name(pg_current_wal_flush_lsn() + 10 * 16 * 1024 * 1024)")
	require.NoError(t, err)
	open, future := rows[0][0], rows[0][1]
	get := func(name string) ([]byte, int, string) {
		path := filepath.Join(dir, name)
		out, code := c.Walhaven("wal", "get", name, path)
		data, err := os.ReadFile(path)
		if code == 0 {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, os.ErrNotExist, "a failed get leaves nothing behind")
		}
		return data, code, out
	}
	data, code, out := get(closed)
	require.Zero(t, code, out)
	own, err := os.ReadFile(filepath.Join(c.Postgres.DataDir, "pg_wal", closed))
	require.NoError(t, err)
	require.Equal(t, own, data)

	data, code, out = get(open)
	require.Zero(t, code, out)
	require.Len(t, data, len(own), "the open segment is padded to its size")
	own, err = os.ReadFile(filepath.Join(c.Postgres.DataDir, "pg_wal", open))
	require.NoError(t, err)
	require.Equal(t, own[:8192], data[:8192])

	for _, name := range []string{future, "00000002.history", "00000002" + closed[8:], closed + ".00000028.backup"} {
		_, code, out = get(name)
		require.Equal(t, 1, code, "%s: %s", name, out)
	}
	require.Empty(t, leftovers(t, dir, closed, open))
}

// safekeepersAlone does without a cluster file what needs nothing else of it.
func safekeepersAlone(t *testing.T, c *cluster.Cluster) {
	password, err := os.ReadFile(c.PasswordFile)
	require.NoError(t, err)
	t.Setenv("PGUSER", c.User)
	t.Setenv("PGPASSWORD", strings.TrimSpace(string(password)))
	t.Setenv("WALHAVEN_CLUSTER", "/nowhere")
	var all []string
	for _, n := range c.Safekeepers {
		all = append(all, n.PG)
	}
	flag := "--safekeepers=" + strings.Join(all, ",")
	ctx := context.Background()
	rows, err := c.Server.Query(ctx, "SELECT pg_walfile_name(lsn), lsn FROM (SELECT pg_switch_wal() AS lsn) s")
	require.NoError(t, err)
	closed, lsn := rows[0][0], rows[0][1]

	out, code := c.Walhaven("wait", lsn, flag)
	require.Zero(t, code, out)
	require.Contains(t, out, all[1])
	path := filepath.Join(t.TempDir(), closed)
	out, code = c.Walhaven("wal", "get", closed, path, flag, "--timeline", "main")
	require.Zero(t, code, out)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	own, err := os.ReadFile(filepath.Join(c.Postgres.DataDir, "pg_wal", closed))
	require.NoError(t, err)
	require.Equal(t, own, data)

	out, code = c.Walhaven("wal", "get", closed, path, flag, "--timeline", "other")
	require.Equal(t, 126, code)
	require.Contains(t, out, `keep no timeline "other", but: main (`+c.Timeline.String())
	out, code = c.Walhaven("wal", "get", closed, path, "--safekeepers=127.0.0.1:1", "--timeout=1s")
	require.Equal(t, 126, code)
	require.Contains(t, out, "no quorum of safekeepers answered")
	_, code = c.Walhaven("wait", lsn, "--safekeepers=127.0.0.1:1", "--timeout=0s")
	require.Equal(t, 5, code)
	out, code = c.Walhaven("rpo", "--safekeepers=127.0.0.1:1", "--timeout=1s")
	require.Equal(t, 5, code, "it does not ask for ever: %s", out)
}

// leftovers are files beside those named.
func leftovers(t *testing.T, dir string, names ...string) (rest []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if !strings.Contains(strings.Join(names, " "), e.Name()) {
			rest = append(rest, e.Name())
		}
	}
	return rest
}

// waldumpJSON reads records from a running safekeeper.
func waldumpJSON(t *testing.T, c *cluster.Cluster) {
	out, code := c.Walhaven("waldump", "-n", "50", "-o", "jsonl")
	require.Zero(t, code, out)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 50)
	blocks := 0
	for _, line := range lines {
		var record map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &record), line)
		if refs, ok := record["blocks"].([]any); ok {
			blocks += len(refs)
		}
	}
	require.Positive(t, blocks, "block references in %s", lines[0])
}

// resume stops everything, as `down` does, and starts it again.
func resume(t *testing.T, c *cluster.Cluster) {
	require.NoError(t, c.Server.Exec(context.Background(), "CREATE TABLE kept AS SELECT 1 AS i"))
	out, code := c.Walhaven("down", "--dir", c.Dir())
	require.Zero(t, code, out)
	for _, name := range c.Daemons() {
		require.Zero(t, c.PID(name), name)
	}
	out, code = c.Walhaven("up", "--detach", "--dir", c.Dir())
	require.Zero(t, code, out)
	require.Contains(t, out, "all 5 are the same")
	out, code = c.Walhaven("up", "--detach", "--dir", c.Dir())
	require.Zero(t, code, out)
	require.Contains(t, out, "runs already")
	n, err := c.Server.QueryValue(context.Background(), "SELECT count(*) FROM kept")
	require.NoError(t, err)
	require.Equal(t, "1", n)
	requireState(t, c, operator.StateSafe)
}

// receipts asks whether a commit is durable, on the three ways there are.
func receipts(t *testing.T, c *cluster.Cluster) {
	ctx := context.Background()
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE kept_safe AS SELECT 1 AS i"))
	lsn, err := c.Server.QueryValue(ctx, "SELECT pg_current_wal_flush_lsn()")
	require.NoError(t, err)
	out, code := c.Walhaven("wait", lsn)
	require.Zero(t, code, out)
	require.Contains(t, out, "DURABLE: "+lsn)
	out, code = c.Walhaven("wait", "FF/0", "--timeout", "100ms", "-o", "json")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, `"durable":false`)

	c.Signal("safekeeper-1", syscall.SIGSTOP)
	within, cancel := context.WithTimeout(ctx, cluster.Deadline) // Far less than the hour that the one that hangs is given.
	defer cancel()
	said, err := exec.CommandContext(within, filepath.Join(cluster.Programs(t), "walhaven"), "--cluster", c.Dir(), "wait", lsn, "--timeout", "1h").CombinedOutput()
	c.Signal("safekeeper-1", syscall.SIGCONT)
	require.NoError(t, err, "the first one hangs, the others know: %s", said)
	require.Contains(t, string(said), "DURABLE: "+lsn)

	resp, err := http.Get("http://" + c.Safekeepers[1].HTTP + "/v1/durable?wait=2s&lsn=" + url.QueryEscape(lsn)) //nolint:noctx // A test's.
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // Read to its end.
	var rows []map[string]string
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&rows))
	require.Len(t, rows, 3)
	holders := 0
	for _, row := range rows {
		require.Equal(t, "t", row["durable"])
		if row["holds"] == "t" {
			holders++
			require.NotEmpty(t, row["flushed_at"])
		}
	}
	require.GreaterOrEqual(t, holders, 2)
}
