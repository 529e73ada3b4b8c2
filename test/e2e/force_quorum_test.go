package e2e

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// TestForceQuorum: two of three safekeepers are gone for good with their disks. The
// third alone is made the membership, but only when the operator names what is lost,
// and never while a majority answers. The primary then goes on, and the others can be
// put back.
func TestForceQuorum(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	began := time.Now()
	lap := func(what string) { t.Logf("%s after %s", what, time.Since(began).Round(time.Millisecond)) }
	w := c.StartWriter(2)
	w.Await(50)

	out, exit := c.Walhaven("member", "force-quorum", "--accept-loss-after", "0/1", "--yes")
	require.Equal(t, daemon.ExitRefused, exit, "a majority answers: %s", out)
	require.Contains(t, out, "a majority of the members answers")

	for _, n := range c.Safekeepers[1:] {
		c.Kill("safekeeper-" + strconv.Itoa(n.ID))
		require.NoError(t, os.RemoveAll(n.DataDir))
	}
	out, exit = c.Walhaven("member", "force-quorum")
	require.Equal(t, daemon.ExitUsage, exit, "%s", out)
	require.Contains(t, out, "At risk: everything behind")
	loss := quorumLoss(t, c)
	require.Len(t, loss.Survivors, 1)
	require.Len(t, loss.Gone, 2)
	require.LessOrEqual(t, loss.CommitLSN, loss.KeptLSN)

	out, exit = c.Walhaven("member", "force-quorum", "--yes", "--accept-loss-after", (loss.CommitLSN - 1).String())
	require.Equal(t, daemon.ExitRefused, exit, "less than the survivor knows to be committed: %s", out)
	out, exit = c.Walhaven("member", "force-quorum", "--yes", "--accept-loss-after", wal.LSN(1<<40).String())
	require.Equal(t, daemon.ExitRefused, exit, "more than the survivor has: %s", out)
	out, exit = c.Walhaven("member", "force-quorum", "--accept-loss-after", loss.KeptLSN.String())
	require.NotZero(t, exit, "nobody says yes: %s", out)
	require.Equal(t, loss.Generation, quorumLoss(t, c).Generation, "nothing has changed")

	out, exit = c.Walhaven("member", "force-quorum", "--yes", "--accept-loss-after", loss.KeptLSN.String())
	require.Zero(t, exit, "%s", out)
	lap("forced")
	c.Eventually("the primary goes on with the survivor", func() bool {
		return c.CollectStatus(context.Background()).Walproposer.State == "streaming"
	})
	w.Await(50)
	lap("commits go on")
	require.Equal(t, loss.Forced, member(t, c, "list").Generation)

	// The file names the survivor alone; the others come back as new members.
	file, err := operator.LoadCluster(c.Dir() + "/" + operator.ClusterFile)
	require.NoError(t, err)
	require.Len(t, file.Safekeepers, 1)
	require.Len(t, file.Retired, 2)
	for _, n := range c.Safekeepers[1:] {
		c.Start("safekeeper-" + strconv.Itoa(n.ID))
		member(t, c, "add", n.PG)
		lap("added " + n.PG)
	}
	file, err = operator.LoadCluster(c.Dir() + "/" + operator.ClusterFile)
	require.NoError(t, err)
	require.Equal(t, c.Safekeepers, file.Safekeepers)
	c.Kill("safekeeper-" + strconv.Itoa(c.Safekeepers[0].ID))
	w.Await(20)
	lap("commits go on without the survivor")
	c.Start("safekeeper-" + strconv.Itoa(c.Safekeepers[0].ID))
	acked := w.Stop()
	require.Zero(t, w.Lost(c.Restore()), "of %d acknowledged commits: the primary had them", len(acked))
}

// quorumLoss asks what forcing would cost.
func quorumLoss(t *testing.T, c *cluster.Cluster) (l operator.QuorumLoss) {
	t.Helper()
	cmd := memberCommand(t, c, "force-quorum", "-o", "json")
	out, err := cmd.Output()
	require.Error(t, err, "it says so and changes nothing")
	require.NoError(t, json.Unmarshal(out, &l), "%s", out)
	return l
}
