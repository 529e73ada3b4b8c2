package e2e

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/test/cluster"
)

// TestNothingAcknowledgedIsLost is invariant 1 as a user meets it: the primary's
// machine and one safekeeper go for good under load while another safekeeper
// lags; the base backup and the WAL of the two that are left bring back every
// row whose COMMIT was acknowledged.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	for lost := 1; lost <= 3; lost++ {
		// Both forms of the walproposer are the same to everybody else, and so is where
		// it takes WAL from.
		o := cluster.Options{InProcess: lost == 3, NoEarlyPush: lost == 2}
		t.Run(fmt.Sprintf("safekeeper-%d", lost), func(t *testing.T) {
			c := cluster.New(t, o)
			lagging := fmt.Sprintf("safekeeper-%d", lost%3+1)
			w := c.StartWriter(4)
			w.Await(200)
			c.Signal(lagging, syscall.SIGSTOP)
			w.Await(500)
			// With the third one stopped too, only the one that is to be lost goes
			// on: nothing may be acknowledged on its word alone.
			third := fmt.Sprintf("safekeeper-%d", (lost+1)%3+1)
			c.Signal(third, syscall.SIGSTOP)
			requireWaiting(t, c)
			loseMachine(t, c)
			c.Kill(fmt.Sprintf("safekeeper-%d", lost))
			c.Signal(lagging, syscall.SIGCONT)
			c.Signal(third, syscall.SIGCONT)
			acked := w.Stop()
			server := c.Restore()
			require.Zero(t, w.Lost(server), "of %d acknowledged commits", len(acked))
			t.Logf("safekeeper-%d lost, %s lagging: all %d acknowledged commits are back", lost, lagging, len(acked))
		})
	}
}

// TestLossIsNoticed is the negative control of the test above: with nobody
// waiting for the quorum, the same end of the same cluster loses commits.
func TestLossIsNoticed(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	require.NoError(t, c.Server.Set(context.Background(), map[string]string{"synchronous_standby_names": ""}))
	w := c.StartWriter(4)
	w.Await(200)
	for id := 1; id <= 3; id++ {
		// Killed, not stopped: a stopped one finds the WAL in its socket later.
		c.Kill(fmt.Sprintf("safekeeper-%d", id))
	}
	w.Await(500)
	loseMachine(t, c)
	c.Start("safekeeper-2")
	c.Start("safekeeper-3")
	w.Stop()
	require.Positive(t, w.Lost(c.Restore()), "rows acknowledged without the quorum")
}

// loseMachine kills PostgreSQL and the walproposer and deletes the data.
func loseMachine(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	require.NoError(t, c.Server.Kill())
	c.Kill("walproposer")
	require.NoError(t, os.RemoveAll(c.Postgres.DataDir))
}
