package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// TestTimelinesThatDoNotContinue promotes two stock servers that the quorum's WAL
// has gone past: one recovered to a point in the past, and one promoted by mistake
// while the primary wrote, under the number that the failover takes, too. Neither
// may write here, no term is touched by trying, and each is told why. The first
// one becomes a timeline of its own.
func TestTimelinesThatDoNotContinue(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	standby, mistaken := c.WarmStandby("walhaven"), c.WarmStandby("walhaven")
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE t (i int); INSERT INTO t VALUES (1)"))
	requireFollows(t, c, mistaken)
	past := positionOf(t, c.Server, "SELECT pg_current_wal_flush_lsn()")
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (5)"))
	term := termOf(c)
	restored := recoverTo(t, c, past)
	out, code := runWalproposer(t, c, restored)
	require.Equal(t, 7, code, out)
	require.Regexp(t, "timeline 2 of this server parts at [0-9A-F]+/[0-9A-F]+ from timeline 1", out)
	require.Equal(t, term, termOf(c), "the proposer in office is not disturbed")
	attachAsNew(t, c, restored)

	require.NoError(t, mistaken.Exec(ctx, "SELECT pg_promote()"))
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (2)"))
	requireFollows(t, c, standby)
	require.NoError(t, c.Server.Kill())
	c.Kill("walproposer")
	out, code = c.Walhaven("failover", "--to", standby.Conninfo())
	require.Zero(t, code, out)
	c.Promoted(standby)
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (3)"))

	term = termOf(c)
	out, code = runWalproposer(t, c, mistaken)
	require.Equal(t, 7, code, out)
	require.Contains(t, out, "two servers were promoted to timeline 2")
	require.Contains(t, out, "hint=")
	require.Equal(t, term, termOf(c))
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (4)"))
	requireState(t, c, operator.StateSafe)
}

// termOf is the term of all members. One may hear of it after the others have
// acknowledged commits.
func termOf(c *cluster.Cluster) (term wal.Term) {
	c.Eventually("all members have one term", func() bool {
		all := safekeepersOf(c)
		term = all[0].Term
		return !slices.ContainsFunc(all, func(s operator.SafekeeperStatus) bool { return s.Term != term })
	})
	return term
}

// safekeepersOf are the answers of all safekeepers, which have to be alive.
func safekeepersOf(c *cluster.Cluster) (all []operator.SafekeeperStatus) {
	c.Eventually("all safekeepers answer", func() bool {
		all = c.CollectStatus(context.Background()).Safekeepers
		return !slices.ContainsFunc(all, func(s operator.SafekeeperStatus) bool { return s.Error != "" })
	})
	return all
}

// runWalproposer runs one that insists, until it ends by itself.
func runWalproposer(t *testing.T, c *cluster.Cluster, server *compute.Server) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Deadline)
	defer cancel()
	var addresses []string
	for _, n := range c.Safekeepers {
		addresses = append(addresses, n.PG)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(cluster.Programs(t), "walproposer"), "--postgres", server.Conninfo(),
		"--safekeepers", strings.Join(addresses, ","), "--tenant-id", c.Tenant.String(), "--timeline", c.Timeline.String(),
		"--safekeeper-user", c.User, "--safekeeper-password-file", c.PasswordFile, "--listen-http", "", "--takeover")
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// recoverTo restores the base backup to a position and promotes it there.
func recoverTo(t *testing.T, c *cluster.Cluster, at wal.LSN) *compute.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Deadline)
	defer cancel()
	dir := filepath.Join(computetest.TempDir(t), "restored")
	out, err := exec.Command("cp", "-a", filepath.Join(c.Dir(), "base"), dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	password, err := os.ReadFile(c.PasswordFile)
	require.NoError(t, err)
	server, err := compute.Open(compute.OpenOptions{
		Install: c.Server.Install(), DataDir: dir, Password: strings.TrimSpace(string(password)), NewPort: true,
		Settings: map[string]string{
			"restore_command":           fmt.Sprintf("%s --cluster %s wal get %%f %%p", filepath.Join(cluster.Programs(t), "walhaven"), c.Dir()),
			"synchronous_standby_names": "",
			"recovery_target_lsn":       at.String(),
			"recovery_target_action":    "promote",
		},
	})
	require.NoError(t, err)
	require.NoError(t, server.WriteFile("recovery.signal", nil))
	require.NoError(t, server.Start(ctx, compute.StartOptions{}))
	t.Cleanup(func() { _ = server.Kill() })
	c.Eventually("recovery ends", func() bool {
		v, err := server.QueryValue(ctx, "SELECT pg_is_in_recovery()")
		return err == nil && v == "f"
	})
	return server
}

// attachAsNew gives the restored server a timeline of its own on the same
// safekeepers.
func attachAsNew(t *testing.T, c *cluster.Cluster, server *compute.Server) {
	t.Helper()
	dir := filepath.Join(computetest.TempDir(t), "attached")
	port, err := compute.FreePort()
	require.NoError(t, err)
	args := []string{
		"attach", "--dir", dir, "--postgres", server.Conninfo(), "--user", c.User, "--password-file", c.PasswordFile,
		"--timeline", "restored", "--role", "pusher", "--listen-http", fmt.Sprint("127.0.0.1:", port), "--safekeepers",
	}
	var addresses []string
	for _, n := range c.Safekeepers {
		addresses = append(addresses, n.PG)
	}
	t.Cleanup(func() {
		if attached, err := operator.LoadCluster(filepath.Join(dir, operator.ClusterFile)); err == nil {
			if pid := attached.PID("walproposer"); pid != 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	require.NoError(t, server.Exec(context.Background(), "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"))
	out, code := cluster.Walhaven(t, append(args, strings.Join(addresses, ","))...)
	require.Zero(t, code, out)
	require.NoError(t, server.Exec(context.Background(), "INSERT INTO t VALUES (100)"))
}
