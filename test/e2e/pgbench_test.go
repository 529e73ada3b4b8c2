package e2e

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/test/cluster"
)

// TestPgbenchWaitsForAQuorum is what a user with pgbench sees when two of three
// safekeepers die: transactions wait, go on soon after one is back, and none
// fails. Each one that pgbench counts is in a server that is restored from the
// safekeepers afterwards.
func TestPgbenchWaitsForAQuorum(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	bench := c.StartPgbench(4)
	bench.AwaitCommits(50)
	// Machines stall: one round of a few within the promise shows that it can be
	// kept, and a walproposer that is in no hurry never does.
	const promised, rounds = 2 * time.Second, 5
	for round := 1; ; round++ {
		c.Kill("safekeeper-1")
		c.Kill("safekeeper-2")
		requireWaiting(t, c)
		c.Start("safekeeper-2")
		began := time.Now()
		bench.AwaitCommits(1)
		waited := time.Since(began)
		t.Logf("transactions went on %v after the second safekeeper was back", waited)
		c.Start("safekeeper-1")
		bench.AwaitCommits(50)
		if waited <= promised {
			break
		}
		require.Less(t, round, rounds, "transactions never went on within %v", promised)
	}
	transactions, _ := bench.Stop()
	require.NoError(t, c.Server.Kill())
	c.Kill("walproposer")
	found, err := c.Restore().QueryValue(context.Background(), "SELECT count(*) FROM pgbench_history")
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(transactions), found, "a row for each transaction that pgbench counted")
	t.Logf("%d transactions of pgbench, none failed, all there", transactions)
}
