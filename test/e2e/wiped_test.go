package e2e

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// TestWipedSafekeeper brings a safekeeper back under its old ID with an empty
// disk. It is filled, but what it says must not count: with one other member
// left, commits wait, and no new term is won.
func TestWipedSafekeeper(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	w := c.StartWriter(2)
	w.Await(100)

	c.Kill("safekeeper-3")
	require.NoError(t, os.RemoveAll(c.Safekeepers[2].DataDir))
	c.Start("safekeeper-3")
	w.Await(100)
	c.Eventually("the wiped safekeeper is filled", func() bool {
		all := c.CollectStatus(context.Background()).Safekeepers
		return all[0].Error == "" && all[2].Error == "" && all[2].Joining && all[2].FlushLSN >= all[0].CommitLSN-1<<20
	})

	c.Kill("safekeeper-1")
	requireWaiting(t, c)
	before := wiped(c).Term
	c.Kill("walproposer")
	c.StartUnready("walproposer")
	c.Eventually("the walproposer looks for a quorum", func() bool {
		s := c.CollectStatus(context.Background())
		return s.Walproposer.Error == "" && s.Walproposer.State != "streaming"
	})
	requireWaiting(t, c)
	require.Equal(t, before, wiped(c).Term, "a term was won with a node that lost its data")

	c.Start("safekeeper-1")
	c.Eventually("commits go on", func() bool { return c.CollectStatus(context.Background()).State != operator.StateWaiting })
	w.Stop()
}

func wiped(c *cluster.Cluster) (s operator.SafekeeperStatus) {
	c.Eventually("the wiped safekeeper answers", func() bool {
		s = c.CollectStatus(context.Background()).Safekeepers[2]
		return s.Error == ""
	})
	return s
}
