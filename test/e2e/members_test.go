package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// TestMembersOneByOne changes every member of a cluster whose clients never stop: a
// fourth comes, each of the first three loses its disk and is replaced, the operator's
// command is killed in the middle of it, and the fourth goes again. No transaction
// fails, the walproposer keeps its term and its connection to PostgreSQL, and all
// members end with the same bytes.
func TestMembersOneByOne(t *testing.T) {
	t.Parallel()
	t.Run("processes", func(t *testing.T) { membersOneByOne(t, false) })
	t.Run("in-process", func(t *testing.T) {
		if os.Getenv("WALHAVEN_TEST_LONG") == "" {
			t.Skip("the same with goroutines: in a long run")
		}
		membersOneByOne(t, true)
	})
}

func membersOneByOne(t *testing.T, inProcess bool) {
	c := cluster.New(t, cluster.Options{InProcess: inProcess})
	w := c.StartWriter(4)
	w.Await(100)
	before := c.CollectStatus(context.Background()).Walproposer
	old := filepath.Join(t.TempDir(), operator.ClusterFile)
	file, err := os.ReadFile(filepath.Join(c.Dir(), operator.ClusterFile))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(old, file, 0o600))

	fourth := cluster.NewKeeper(t, 4, "")
	began := time.Now()
	m := member(t, c, "add", fourth.PG)
	require.Len(t, m.Nodes, 4)
	t.Logf("a fourth member within %s", time.Since(began).Round(time.Millisecond))
	w.Await(100)

	for i, n := range c.Safekeepers {
		name := "safekeeper-" + strconv.Itoa(n.ID)
		c.Kill(name)
		require.NoError(t, os.RemoveAll(n.DataDir))
		c.Start(name)
		if i == 1 {
			killedMember(t, c, "replace", strconv.Itoa(n.ID), n.PG)
		}
		began := time.Now()
		member(t, c, "replace", strconv.Itoa(n.ID), n.PG)
		t.Logf("%s is a member again %s after its command", name, time.Since(began).Round(time.Millisecond))
		w.Await(100)
	}
	last := member(t, c, "remove", "4")
	require.False(t, last.Joint)
	out, err := memberCommand(t, c, "remove", "4").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), fmt.Sprintf("node 4 is no member of generation %d, nothing was changed", last.Generation))
	require.Equal(t, last.Generation, member(t, c, "list").Generation)
	fourth.Kill()
	w.Await(100)
	require.Empty(t, w.Failures(), "no transaction fails")
	after := c.CollectStatus(context.Background()).Walproposer
	require.Equal(t, before.Term, after.Term, "the walproposer keeps its term, and with it its connection to PostgreSQL")
	acked := w.Stop()
	sameBytes(t, c)

	// Without a walproposer the command campaigns itself; a removed member comes back
	// as it is.
	c.Kill("walproposer")
	fourth.Start()
	require.Equal(t, last.Generation+2, member(t, c, "add", fourth.PG).Generation)

	// Who was replaced votes, and a walproposer that starts with the old list finds
	// who came: with three of the four it wins a term.
	c.Kill("safekeeper-1")
	oldListFindsTheMembers(t, c, old)
	c.Start("walproposer")
	c.Eventually("commits go on with three of the four members", func() bool {
		return c.CollectStatus(context.Background()).State == operator.StateSafeNoSpare
	})
	c.Eventually("the walproposer is ready with the old list", func() bool {
		code, _ := cluster.Get(t, "http://"+c.Walproposer.HTTP+"/readyz")
		return code == http.StatusOK
	})
	c.Start("safekeeper-1")
	require.Zero(t, w.Lost(c.Restore()), "of %d acknowledged commits", len(acked))
	t.Logf("generation %d, all %d acknowledged commits are there", last.Generation, len(acked))
}

// oldListFindsTheMembers: a copy of the cluster file on a standby's machine, or the list
// in a unit of systemd, is older than the membership one day, and the quorum may be of
// nodes that it does not have.
func oldListFindsTheMembers(t *testing.T, c *cluster.Cluster, old string) {
	t.Helper()
	out, code := cluster.Walhaven(t, "--cluster", old, "failover", "--sync-only")
	require.Zero(t, code, out)
	out, code = cluster.Walhaven(t, "--cluster", old, "wal", "get", "00000009.history", filepath.Join(t.TempDir(), "history"), "--timeout", "30s")
	require.Equal(t, 1, code, "a majority says that there is none: %s", out)
	var list []string
	for _, n := range c.Safekeepers {
		if n.ID != 4 {
			list = append(list, n.PG)
		}
	}
	out, code = cluster.Run(t, "", "walproposer", "check", "--pgdata", filepath.Join(c.Dir(), "base"), "--safekeepers", strings.Join(list, ","),
		"--safekeeper-password-file", c.PasswordFile, "--timeline", c.Timeline.String())
	require.Equal(t, 8, code, "the base backup has to follow: %s", out)
}

// member runs walhaven member and returns what it says.
func member(t *testing.T, c *cluster.Cluster, args ...string) operator.Members {
	t.Helper()
	cmd := memberCommand(t, c, append(args, "-o", "json")...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", out, errs.String())
	var m operator.Members
	require.NoError(t, json.Unmarshal(out, &m), "%s", out)
	for i := range m.Nodes { // what moves
		m.Nodes[i].FlushLSN, m.Nodes[i].LagBytes = 0, 0
	}
	m.CommitLSN = 0
	return m
}

func memberCommand(t *testing.T, c *cluster.Cluster, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Deadline)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, filepath.Join(cluster.Programs(t), "walhaven"), append([]string{"--cluster", c.Dir(), "member"}, args...)...)
}

// killedMember kills the command as soon as it has asked for the change.
func killedMember(t *testing.T, c *cluster.Cluster, args ...string) {
	t.Helper()
	cmd := memberCommand(t, c, args...)
	pipe, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(pipe)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "CHANGE MEMBERS") {
		t.Log(lines.Text())
	}
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
}

// sameBytes compares the WAL of all members by SHA-256, from the timeline's first
// record to where all of them know it to be committed.
func sameBytes(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	ask := func(n operator.Node, sql string) []replication.Row { return askTimeline(t, c, n.PG, sql) }
	var start, end wal.LSN
	for i, n := range c.Safekeepers {
		status, err := replication.ParseStatus(ask(n, "TIMELINE_STATUS")[0])
		require.NoError(t, err)
		require.False(t, status.Joining)
		if start = status.Start; i == 0 || status.CommitLSN < end {
			end = status.CommitLSN
		}
	}
	digests := ask(c.Safekeepers[0], fmt.Sprintf("WAL_DIGEST %s %s", start, end))
	require.NotEmpty(t, digests)
	for _, n := range c.Safekeepers[1:] {
		require.Equal(t, digests, ask(n, fmt.Sprintf("WAL_DIGEST %s %s", start, end)), "safekeeper %d", n.ID)
	}
	t.Logf("%d digests of %s..%s are the same on all members", len(digests), start, end)
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, ok := strings.Cut(address, ":")
	require.True(t, ok)
	return port
}

func password(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	b, err := os.ReadFile(c.PasswordFile)
	require.NoError(t, err)
	return strings.TrimSpace(string(b))
}
