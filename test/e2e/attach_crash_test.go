package e2e

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/test/cluster"
)

// attachPoints are where attach and detach are killed, each at its nth pass until
// there are no more.
var attachPoints = []string{
	"operator/record/before", "operator/record/after", "operator/change/before", "operator/change/after",
	"operator/found/before", "operator/start/after",
}

// TestAttachGoesOnAfterACrash kills attach, and then detach, with SIGKILL at each
// statement, each founding and each write of the cluster file. Called again they
// end well, and in the end nothing is left.
func TestAttachGoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	a := newAttached(t, nil)
	// The header of ALTER SYSTEM, so that files compare.
	require.NoError(t, a.pg.Exec(t.Context(), "ALTER SYSTEM SET log_checkpoints = on"))
	require.NoError(t, a.pg.Reload(t.Context()))
	before := a.footprint()
	kills, name := 0, 0
	long := os.Getenv("WALHAVEN_TEST_LONG") != "" // each pass of each point, else the first two
	// killed runs a command that is killed at a point, and says whether it was.
	killed := func(point string, n int, args []string) bool {
		out, code := cluster.WalhavenAt(t, fmt.Sprintf("%s@%d=kill", point, n), args...)
		if code == 0 {
			return false
		}
		require.Equal(t, -1, code, "killed at %s@%d and nothing else:\n%s", point, n, out)
		kills++
		return true
	}
	detach := []string{"detach", "--dir", a.dir, "--postgres", a.pg.Conninfo()}
	for _, point := range attachPoints {
		more := true
		for n := 1; more && (long || n <= 2); n++ {
			name++
			attach := append(slices.Clone(a.args), "--timeline", fmt.Sprint("t", name))
			more = killed(point, n, attach)
			out, code := cluster.Walhaven(t, attach...)
			require.Zero(t, code, "attach after a kill at %s@%d:\n%s", point, n, out)
			require.Contains(t, out, "Every commit now waits for a majority")
			require.NoError(t, a.pg.Exec(t.Context(), "CREATE TABLE t"+fmt.Sprint(name)+" ()"))
			if killed(point, n, detach) {
				more = true
			}
			if _, err := a.load(); err == nil {
				out, code = cluster.Walhaven(t, detach...)
				require.Zero(t, code, "detach after a kill at %s@%d:\n%s", point, n, out)
			}
			require.Equal(t, before, a.footprint(), "killed at %s@%d", point, n)
		}
	}
	t.Logf("attach and detach killed %d times", kills)
	require.Greater(t, kills, 10)
}
