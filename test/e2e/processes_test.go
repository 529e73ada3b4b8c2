package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

func walproposerStatus(c *cluster.Cluster) operator.WalproposerStatus {
	return c.CollectStatus(context.Background()).Walproposer
}

// needProcesses skips what is about processes that the walproposer does not have.
func needProcesses(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	if c.Walproposer.InProcess {
		t.Skip("the walproposer is one process")
	}
}

// settled waits until all parts run and everything is on every disk.
func settled(c *cluster.Cluster) {
	c.Eventually("the cluster is SAFE", func() bool {
		s := c.CollectStatus(context.Background())
		return s.State == "SAFE" && len(s.Walproposer.PushPIDs) == 3
	})
}

// TestPgbenchSurvivesTheDeathOfEachProcess kills each part of walhaven with
// SIGKILL under pgbench, one after another, and twice over in a long run: not a
// transaction fails.
func TestPgbenchSurvivesTheDeathOfEachProcess(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	needProcesses(t, c)
	bench := c.StartPgbench(4)
	settled(c)
	rounds := 2
	if os.Getenv("WALHAVEN_TEST_LONG") == "" {
		rounds = 1
	}
	for round := 1; round <= rounds; round++ {
		sk := fmt.Sprintf("safekeeper-%d", round)
		c.Kill(sk)
		bench.AwaitCommits(50)
		c.Start(sk)
		settled(c)
		killTap(t, c, bench)
		for i := range 3 {
			killPush(t, c, bench, i)
		}
		c.Kill("pageserver-1")
		bench.AwaitCommits(50)
		c.Start("pageserver-1")
		settled(c)
		killSupervisor(t, c, bench)
	}
	transactions, runs := bench.Stop()
	t.Logf("%d transactions in %d runs of pgbench, none failed", transactions, runs)
}

// killTap shows that a tap that dies is replaced, and all workers with it, under
// a new term.
func killTap(t *testing.T, c *cluster.Cluster, bench *cluster.Pgbench) {
	t.Helper()
	before := walproposerStatus(c)
	began := time.Now()
	require.NoError(t, syscall.Kill(before.TapPID, syscall.SIGKILL))
	c.Eventually("another tap streams", func() bool {
		now := walproposerStatus(c)
		return now.TapPID != before.TapPID && now.State == "streaming" && len(now.PushPIDs) == 3
	})
	t.Logf("another tap streams after %s", time.Since(began).Round(time.Millisecond))
	bench.AwaitCommits(50)
	now := walproposerStatus(c)
	require.Equal(t, before.PID, now.PID, "the supervisor lives on")
	require.Greater(t, now.Term, before.Term, "within one term all bytes come from one connection")
	for _, pid := range before.PushPIDs {
		require.NotContains(t, now.PushPIDs, pid, "workers end with their tap")
		require.False(t, operator.ProcessRuns(pid), "and are gone")
	}
	settled(c)
}

// killPush shows that a push worker that dies is replaced, and that neither the
// term nor the connection to PostgreSQL notices.
func killPush(t *testing.T, c *cluster.Cluster, bench *cluster.Pgbench, i int) {
	t.Helper()
	before := walproposerStatus(c)
	walsender := walsenderPID(t, c)
	began := time.Now()
	require.NoError(t, syscall.Kill(before.PushPIDs[i], syscall.SIGKILL))
	c.Eventually("another push worker", func() bool {
		now := walproposerStatus(c)
		return len(now.PushPIDs) == 3 && !slices.Contains(now.PushPIDs, before.PushPIDs[i])
	})
	t.Logf("another push worker after %s", time.Since(began).Round(time.Millisecond))
	bench.AwaitCommits(50)
	settled(c)
	now := walproposerStatus(c)
	require.Equal(t, before.Term, now.Term, "the term is kept")
	require.Equal(t, before.TapPID, now.TapPID)
	require.Equal(t, walsender, walsenderPID(t, c), "the connection to PostgreSQL is kept")
}

func walsenderPID(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	pid, err := c.Server.QueryValue(context.Background(), "SELECT pid FROM pg_stat_replication WHERE application_name = 'walhaven'")
	require.NoError(t, err)
	return pid
}

// killSupervisor shows that nothing of a walproposer outlives its supervisor.
func killSupervisor(t *testing.T, c *cluster.Cluster, bench *cluster.Pgbench) {
	t.Helper()
	before := walproposerStatus(c)
	c.Kill("walproposer")
	c.Eventually("its children are gone", func() bool {
		return !slices.ContainsFunc(append(before.PushPIDs, before.TapPID), operator.ProcessRuns)
	})
	c.Start("walproposer")
	bench.AwaitCommits(50)
	settled(c)
}
