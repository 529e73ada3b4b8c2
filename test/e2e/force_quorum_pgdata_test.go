package e2e

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// TestForceQuorumNamesTransactions: with the data directory of the stopped primary
// the command says which transactions no survivor has, and what they changed.
func TestForceQuorumNamesTransactions(t *testing.T) {
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE t (i int); INSERT INTO t VALUES (0)"))
	path, err := c.Server.QueryValue(ctx, "SELECT pg_relation_filenode('t')::text")
	require.NoError(t, err)
	c.Kill("walproposer")
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- c.Server.Exec(waiting, "INSERT INTO t VALUES (1)") }()
	xid := ""
	c.Eventually("it waits", func() bool {
		xid, err = c.Server.QueryValue(ctx, "SELECT coalesce(max(backend_xid::text), '') FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		return err == nil && xid != ""
	})
	require.NoError(t, c.Server.Kill())
	require.Error(t, <-done, "it was never acknowledged")
	for _, n := range c.Safekeepers[1:] {
		c.Kill("safekeeper-" + strconv.Itoa(n.ID))
		require.NoError(t, os.RemoveAll(n.DataDir))
	}

	cmd := memberCommand(t, c, "force-quorum", "--pgdata", c.Server.DataDir(), "-o", "json")
	out, err := cmd.Output()
	require.Error(t, err, "it says so and changes nothing")
	var loss operator.QuorumLoss
	require.NoError(t, json.Unmarshal(out, &loss), "%s", out)
	require.Less(t, loss.KeptLSN, loss.EndLSN)
	found := map[string]operator.OrphanTransaction{}
	for _, x := range loss.Transactions {
		found[strconv.FormatUint(uint64(x.XID), 10)] = x
	}
	require.Contains(t, found, xid, "%s", out)
	require.Equal(t, "committed", found[xid].State)
	require.Len(t, found[xid].Relations, 1)
	require.Regexp(t, "/"+path+"$", found[xid].Relations[0])
	text, _ := c.Walhaven("member", "force-quorum", "--pgdata", c.Server.DataDir())
	require.Contains(t, text, "and on no survivor")
	require.Regexp(t, "(?m)^"+xid+" +committed ", text)
}
