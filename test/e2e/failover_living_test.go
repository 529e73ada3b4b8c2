package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// TestFailoverFromALivingPrimary leaves a primary behind that is alive: not without
// being told to, and then no commit of it returns any more.
func TestFailoverFromALivingPrimary(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	old, standby := c.Server, c.WarmStandby("walhaven")
	w := c.StartWriter(4)
	w.Await(200)
	out, code := c.Walhaven("failover", "--to", standby.Conninfo())
	require.NotZero(t, code, out)
	require.Contains(t, out, "the old primary answers: nothing was changed")
	w.Await(200)
	out, code = c.Walhaven("failover", "--to", standby.Conninfo(), "--yes")
	require.Zero(t, code, out)
	require.Contains(t, out, "the first commit of the new primary is on the quorum")
	requireWaiting(t, c) // It is still the old one that this asks.
	acked := w.Stop()
	require.Empty(t, w.Failures(), "connections to the old primary wait and do not break")
	require.Zero(t, w.Lost(standby), "of %d acknowledged commits", len(acked))
	t.Cleanup(func() { _ = old.Kill() })
	c.Promoted(standby)
	require.NoError(t, standby.Exec(ctx, "CREATE TABLE goes_on ()"))
	requireState(t, c, operator.StateSafe)
	t.Logf("%d acknowledged commits, none lost", len(acked))
}

// TestSwitchoverWantsTheShutdownCheckpoint stops the old primary the wrong way: what
// it had flushed may not be on the quorum, so nobody is promoted, and things can be
// left as they were.
func TestSwitchoverWantsTheShutdownCheckpoint(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	standby := c.WarmStandby("walhaven")
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE t AS SELECT 1 AS i"))
	requireFollows(t, c, standby)
	immediate := fmt.Sprintf("kill -QUIT %d", c.Server.PID())
	out, code := c.Walhaven("switchover", "--to", standby.Conninfo(), "--stop", immediate)
	require.NotZero(t, code, out)
	require.Contains(t, out, "the old primary was not shut down in order")
	require.Contains(t, out, "To go on with the old primary after all:\n")
	recovering, err := standby.QueryValue(ctx, "SELECT pg_is_in_recovery()")
	require.NoError(t, err)
	require.Equal(t, "t", recovering)
	out, code = c.Walhaven("failover", "--to", standby.Conninfo())
	require.Zero(t, code, out)
}
