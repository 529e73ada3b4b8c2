package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/test/oracle"
	"github.com/walhaven/walhaven/wal"
)

// roundsOf is how often a test does what it does, as a variable says.
func roundsOf(t *testing.T, variable string) int {
	if text := os.Getenv(variable); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		return n
	}
	return 2
}

// An import under pgbench, with the pageserver killed at random instants of it,
// either is not there afterwards or becomes visible, and then every page is what
// a stock server has at the same LSN.
func TestImportSurvivesKills(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	ctx := context.Background()
	_, err := c.Server.Pgbench(ctx, "-i", "-q", "-s", "2")
	require.NoError(t, err)
	rounds, seed := roundsOf(t, "WALHAVEN_IMPORT_ROUNDS"), uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d rounds", seed, rounds)
	random := rand.New(rand.NewPCG(seed, 1))
	killed := 0
	for round := range rounds {
		load, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = c.Server.Pgbench(load, "-c", "3", "-T", "120", "-n") // It is cut off.
		}()
		wipePageserver(t, c)
		if importWithKill(t, c, time.Duration(random.IntN(1500))*time.Millisecond) {
			killed++
		}
		out, code := c.Walhaven("import")
		require.Zero(t, code, out)
		require.Contains(t, out, "from ")
		stop()
		<-done
		if round == rounds-1 || round%4 == 3 {
			comparePages(t, c)
		}
	}
	t.Logf("%d of %d imports were cut off by the kill", killed, rounds)
}

// wipePageserver gives the cluster a pageserver that has nothing.
func wipePageserver(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	c.Kill("pageserver-1")
	require.NoError(t, os.RemoveAll(c.Pageservers[0].DataDir))
	c.Start("pageserver-1")
}

// importWithKill begins an import, kills the pageserver after a while and starts
// it again; it says whether the import failed for that.
func importWithKill(t *testing.T, c *cluster.Cluster, after time.Duration) bool {
	t.Helper()
	result := make(chan int, 1)
	go func() {
		_, code := c.Walhaven("import")
		result <- code
	}()
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case code := <-result:
		result <- code
	}
	c.Kill("pageserver-1")
	code := <-result
	c.Start("pageserver-1")
	return code != 0
}

// comparePages compares every page with a stock server that was stopped at an
// LSN, before and after a kill.
func comparePages(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	ctx := context.Background()
	_, err := c.Server.Psql(ctx, "-c", "CHECKPOINT")
	require.NoError(t, err)
	lsn := computetest.LSN(t, c.Server, "SELECT pg_current_wal_insert_lsn()")
	kinds := oracle.Catalog(t, c.Server)
	_, err = c.Server.Pgbench(ctx, "-t", "50", "-n")
	require.NoError(t, err)
	stopped := stoppedAt(t, c, lsn)
	for _, what := range []string{"as it runs", "after a kill"} {
		result := oracle.Compare(t, stopped, kinds, oracle.Stream(t, pageserverConninfo(t, c), wal.TTID{Tenant: c.Tenant, Timeline: c.Timeline}, lsn))
		t.Logf("%s, at %s: %s", what, lsn, result)
		require.Zero(t, result.Differ+result.Refused, result.String())
		require.Greater(t, result.Blocks, 4000)
		c.Kill("pageserver-1")
		c.Start("pageserver-1")
	}
	require.NoError(t, os.RemoveAll(stopped))
}

func pageserverConninfo(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	host, port, _ := strings.Cut(c.Pageservers[0].PG, ":")
	password, err := os.ReadFile(c.PasswordFile)
	require.NoError(t, err)
	return fmt.Sprintf("host=%s port=%s user=%s dbname=x password=%s options='-c tenant_id=%s -c timeline_id=%s'",
		host, port, c.User, strings.TrimSpace(string(password)), c.Tenant, c.Timeline)
}

// stoppedAt is the data directory of a stock server that recovered the cluster's
// own base backup with the safekeepers' WAL and stopped at an LSN.
func stoppedAt(t *testing.T, c *cluster.Cluster, lsn wal.LSN) string {
	t.Helper()
	dir := filepath.Join(computetest.TempDir(t), "stopped")
	out, err := exec.Command("cp", "-a", filepath.Join(c.Dir(), "base"), dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	computetest.StopAt(t, c.Server.Install(), dir, lsn, map[string]string{
		"restore_command":           fmt.Sprintf("%s --cluster %s wal get %%f %%p", filepath.Join(cluster.Programs(t), "walhaven"), c.Dir()),
		"synchronous_standby_names": "",
	})
	return dir
}
