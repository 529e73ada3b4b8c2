package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// TestNodesComeAndGo shows what users see when parts die under load: the loss
// of one safekeeper or of the pageserver fails no transaction, the loss of two
// safekeepers makes commits wait, and they go on when one is back.
func TestNodesComeAndGo(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	w := c.StartWriter(4)
	w.Await(100)

	c.Kill("pageserver-1")
	w.Await(200)
	c.Start("pageserver-1")

	began := time.Now()
	c.Kill("safekeeper-1")
	w.Await(200)
	requireSince(t, c, operator.StateSafeNoSpare, began)

	began = time.Now()
	c.Kill("safekeeper-2")
	requireWaiting(t, c)
	requireSince(t, c, operator.StateWaiting, began)
	out, code := c.Walhaven("status")
	require.Zero(t, code, out)
	require.Contains(t, out, "WAITING")

	c.Start("safekeeper-2")
	start := time.Now()
	w.Await(1)
	t.Logf("commits went on %v after the second safekeeper was ready", time.Since(start))
	w.Await(200)

	c.Start("safekeeper-1")
	requireState(t, c, operator.StateSafe)
	require.Empty(t, w.Failures(), "failed transactions")
	w.Stop()
}

// requireState waits until status says a word. It is asked again and again: on a
// busy machine one answer may come too late, or a commit wait for a moment.
func requireState(t *testing.T, c *cluster.Cluster, word string) {
	t.Helper()
	c.Eventually("the status is "+word, func() bool { return c.CollectStatus(context.Background()).State == word })
}

// requireSince waits until status says a word, and that it has been so since some
// time behind began.
func requireSince(t *testing.T, c *cluster.Cluster, word string, began time.Time) {
	t.Helper()
	c.Eventually("the status is "+word, func() bool {
		s := c.CollectStatus(context.Background())
		return s.State == word && s.Since.After(began)
	})
}

// requireWaiting shows that a commit does not return while the quorum is lost:
// it is cut short by a timeout of its own and not by an answer.
func requireWaiting(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Deadline)
	defer cancel()
	conn, err := c.Server.Connect(ctx, "postgres")
	require.NoError(t, err)
	defer conn.Close(ctx) //nolint:errcheck // The session is cut short on purpose.
	waitCtx, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	// A wait that is cut short leaves its transaction committed, so the name
	// must not be used twice.
	_, err = conn.Exec(waitCtx, fmt.Sprintf("CREATE TABLE waits_%d ()", time.Now().UnixNano())).ReadAll()
	require.ErrorIs(t, err, context.DeadlineExceeded, "a commit was acknowledged without a quorum")
}
