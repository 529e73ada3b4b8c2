package e2e

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// TestFailoverPastAHangingSafekeeper fails over to a standby that is connected to
// a safekeeper which hangs, and lacks acknowledged commits: the kernel of that
// machine goes on taking connections, so that the standby would wait for it. It is
// sent to the others, and its configuration is what it was afterwards.
func TestFailoverPastAHangingSafekeeper(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	standby := c.WarmStandby("walhaven")
	w := c.StartWriter(4)
	w.Await(50)
	requireFollows(t, c, standby)
	password, err := os.ReadFile(c.PasswordFile)
	require.NoError(t, err)
	conninfo, err := standby.QueryValue(ctx, "SHOW primary_conninfo")
	require.NoError(t, err)
	// The standby's is the first that answered.
	c.Signal("safekeeper-1", syscall.SIGSTOP)
	w.Await(200)
	began := time.Now()
	require.NoError(t, c.Server.Kill())
	c.Kill("walproposer")
	out, code := c.Walhaven("failover", "--to", standby.Conninfo())
	require.Zero(t, code, out)
	t.Logf("%s from the kill to the first commit\n%s", time.Since(began).Round(time.Millisecond), out)
	require.Contains(t, out, "others answer")
	require.NotContains(t, out, strings.TrimSpace(string(password)))
	acked := w.Stop()
	require.Zero(t, w.Lost(standby), "of %d acknowledged commits", len(acked))
	require.NoError(t, standby.Reload(ctx))
	after, err := standby.QueryValue(ctx, "SHOW primary_conninfo")
	require.NoError(t, err)
	require.Equal(t, conninfo, after)
	c.Signal("safekeeper-1", syscall.SIGCONT)
	c.Promoted(standby)
	requireState(t, c, operator.StateSafe)
}
