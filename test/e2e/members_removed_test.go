package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// TestReplaceAfterWALWasRemoved: a safekeeper that loses its disk when retention has
// long removed the timeline's first WAL is replaced as any other. It begins where the
// others' WAL begins, with the same bytes from there on, and votes.
func TestReplaceAfterWALWasRemoved(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	ctx := context.Background()
	w := c.StartWriter(2)
	for range 3 {
		w.Await(20)
		require.NoError(t, c.Server.Exec(ctx, "SELECT pg_switch_wal()"))
	}
	w.Await(20)
	c.Eventually("all have everything", func() bool { return c.CollectStatus(ctx).State == operator.StateSafe })
	for i, n := range c.Safekeepers { // one after another, as an upgrade would
		name := fmt.Sprint("safekeeper-", n.ID)
		c.Kill(name)
		removeSegments(t, n.DataDir, 2)
		if i == 2 {
			require.NoError(t, os.RemoveAll(n.DataDir))
		}
		c.Start(name)
		w.Await(20)
	}
	m := member(t, c, "replace", "3", c.Safekeepers[2].PG)
	require.False(t, m.Joint)
	w.Await(20)

	status := make([]replication.Status, 3)
	end := ^wal.LSN(0)
	for i, n := range c.Safekeepers {
		s, err := replication.ParseStatus(askTimeline(t, c, n.PG, "TIMELINE_STATUS")[0])
		require.NoError(t, err)
		status[i], end = s, min(end, s.CommitLSN)
	}
	from := max(status[0].Oldest, status[1].Oldest)
	require.Greater(t, from, status[0].Start)
	require.Equal(t, from, status[2].Oldest)
	require.False(t, status[2].Joining)
	digests := fmt.Sprintf("WAL_DIGEST %s %s", from, end)
	want := askTimeline(t, c, c.Safekeepers[0].PG, digests)
	require.NotEmpty(t, want)
	require.Equal(t, want, askTimeline(t, c, c.Safekeepers[2].PG, digests))

	// It counts: with it and one other commits go on, through a new term as well.
	c.Kill("safekeeper-1")
	w.Await(20)
	c.Kill("walproposer")
	c.Start("walproposer")
	w.Await(20)
	c.Start("safekeeper-1")
	acked := w.Stop()
	t.Logf("%d acknowledged commits, WAL from %s on", len(acked), from)
}

// removeSegments does what retention does once nobody needs the first n segments.
func removeSegments(t *testing.T, dir string, n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "00000001????????????????"))
	require.NoError(t, err)
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, ".partial") })
	require.Greater(t, len(files), n)
	slices.Sort(files)
	for _, f := range files[:n] {
		require.NoError(t, os.Remove(f))
	}
}
