package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// TestOrphansOfAnOldPrimary loses a primary that had flushed commits which no
// safekeeper got, and nobody was told of. After the failover its directory is
// refused, and the report names those transactions and what they changed.
func TestOrphansOfAnOldPrimary(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	standby := c.WarmStandby("walhaven")
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE t (i int); INSERT INTO t VALUES (0)"))
	requireFollows(t, c, standby)
	path, err := c.Server.QueryValue(ctx, "SELECT pg_relation_filepath('t')")
	require.NoError(t, err)
	relation := "1663" + strings.TrimPrefix(path, "base")
	for id := 1; id <= 3; id++ {
		c.Kill(fmt.Sprintf("safekeeper-%d", id))
	}
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	const n = 3
	for i := range n {
		conn, err := c.Server.Connect(waiting, "postgres")
		require.NoError(t, err)
		conn.Frontend().SendQuery(&pgproto3.Query{String: fmt.Sprintf("INSERT INTO t VALUES (%d)", i)})
		require.NoError(t, conn.Frontend().Flush())
		defer func() { _ = conn.Close(waiting) }()
	}
	var xids []string
	c.Eventually("all of them wait", func() bool {
		rows, err := c.Server.Query(ctx, "SELECT backend_xid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		xids = nil
		for _, row := range rows {
			xids = append(xids, row[0])
		}
		return err == nil && len(rows) == n
	})
	before := time.Now()
	old := c.Server.DataDir()
	require.NoError(t, c.Server.Kill())
	stop()
	c.Kill("walproposer")
	for id := 1; id <= 3; id++ {
		c.Start(fmt.Sprintf("safekeeper-%d", id))
	}
	out, code := c.Walhaven("orphans", "--pgdata", old)
	require.Zero(t, code, out)
	require.Contains(t, out, "nobody has written behind", "before the failover it is only ahead")
	out, code = c.Walhaven("failover", "--to", standby.Conninfo())
	require.Zero(t, code, out)

	out, code = c.Walhaven("orphans", "--pgdata", old, "-o", "json")
	require.Zero(t, code, out)
	var report operator.Orphans
	require.NoError(t, json.Unmarshal([]byte(out), &report), out)
	require.True(t, report.Superseded)
	require.Less(t, report.DivergesLSN, report.EndLSN)
	require.EqualValues(t, 2, report.QuorumTLI)
	found := map[string]operator.OrphanTransaction{}
	for _, x := range report.Transactions {
		require.Greater(t, x.LSN, report.DivergesLSN, "what the quorum has is no orphan")
		found[strconv.FormatUint(uint64(x.XID), 10)] = x
	}
	for _, xid := range xids {
		x, ok := found[xid]
		require.True(t, ok, "transaction %s in %s", xid, out)
		require.Equal(t, "committed", x.State)
		require.Contains(t, x.Relations, relation)
		require.WithinDuration(t, before, x.Time, 2*cluster.Deadline)
	}
	lines, code := c.Walhaven("orphans", "--pgdata", old, "-o", "jsonl")
	require.Zero(t, code, lines)
	require.Len(t, strings.Split(strings.TrimSpace(lines), "\n"), len(report.Transactions))
	out, code = c.Walhaven("orphans", "--pgdata", old)
	require.Zero(t, code, out)
	require.Contains(t, out, "the quorum went on without them")
	require.Contains(t, out, relation)

	// The new primary has nothing of its own.
	c.Promoted(standby)
	rows, err := standby.QueryValue(ctx, "SELECT count(*) FROM t")
	require.NoError(t, err)
	require.Equal(t, "1", rows, "what was never acknowledged")
	require.NoError(t, standby.Stop(ctx, compute.Fast))
	out, code = c.Walhaven("orphans", "--pgdata", standby.DataDir())
	require.Zero(t, code, out)
	require.Contains(t, out, "Nothing: every byte")
}
