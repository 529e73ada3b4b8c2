package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// TestJointMembership has real processes stay in a joint configuration, which else lasts
// milliseconds: the walproposer does not propose to leave it. Commits need a majority of
// both sets; a walproposer that follows ends it; a second operator's change comes after
// it; without a walproposer an operator leaves it for the old members.
func TestJointMembership(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	const never = "0s" // no safekeeper settles in the place of a walproposer that is dead
	for _, n := range c.Safekeepers {
		name := "safekeeper-" + strconv.Itoa(n.ID)
		c.Kill(name)
		c.Start(name, "WALHAVEN_SAFEKEEPER_HEADLESS_AFTER="+never)
	}
	fourth, fifth := cluster.NewKeeper(t, 4, "", "--headless-after", never), cluster.NewKeeper(t, 5, "", "--headless-after", never)
	third := c.Safekeepers[2].PG
	w := c.StartWriter(2)
	w.Await(20)
	j := &jointTest{t: t, c: c, w: w}

	j.become("1 2 3 -> 1 2 4", "replace", "3", fourth.PG)
	fourth.Kill()
	c.Kill("safekeeper-2")
	j.waits("of the new set only the first is there", "safekeeper-1", "safekeeper-3")
	c.Start("safekeeper-2")
	j.goesOn("two of each set are there")
	fourth.Start()
	j.goesOn("all are there")
	c.Kill("safekeeper-2")
	c.Kill("safekeeper-3")
	j.waits("of the old set only the first is there", "safekeeper-1")
	c.Start("safekeeper-3")
	j.goesOn("two of each set are there")
	c.Start("safekeeper-2")
	j.requireMembers("1 2 3 -> 1 2 4")
	j.release()
	j.becomes("1 2 4")

	j.become("1 2 4 -> 1 2 3", "replace", "4", third)
	second, ended := j.secondOperator("add", fifth.PG)
	j.goesOn("a second operator waits")
	j.requireMembers("1 2 4 -> 1 2 3")
	j.release()
	<-ended
	require.Zero(t, second.ProcessState.ExitCode(), "the second operator's change comes after the first")
	j.becomes("1 2 3 5")

	j.become("1 2 3 5 -> 1 2 3 4", "replace", "5", fourth.PG)
	c.Kill("walproposer")
	out, code := c.Walhaven("member", "abort")
	require.Zero(t, code, out)
	j.requireMembers("1 2 3 5")
	c.Start("walproposer", takeover)
	j.goesOn("the old members are in force")
	j.requireMembers("1 2 3 5")

	acked := w.Stop()
	require.Empty(t, w.Failures(), "no transaction fails")
	loaded, err := operator.LoadCluster(filepath.Join(c.Dir(), operator.ClusterFile))
	require.NoError(t, err)
	c.Cluster = loaded
	sameBytes(t, c)
	t.Logf("%d commits", len(acked))
}

const takeover = "WALHAVEN_WALPROPOSER_TAKEOVER=true"

// jointTest is a cluster that is held in joint configurations.
type jointTest struct {
	t *testing.T
	c *cluster.Cluster
	w *cluster.Writer

	waiting <-chan error // the end of a commit that waits
}

// become has the members change, and stay where both sets have to agree.
func (j *jointTest) become(want string, args ...string) {
	j.t.Helper()
	j.c.Kill("walproposer")
	// One process, for one that is started again by its supervisor has no fail points.
	j.c.Start("walproposer", "WALHAVEN_FAILPOINTS=proposing/members/final=error", takeover, "WALHAVEN_WALPROPOSER_IN_PROCESS=true")
	out, code := cluster.WalhavenAt(j.t, "operator/member/joint@1=kill", append([]string{"--cluster", j.c.Dir(), "member"}, args...)...)
	require.Equal(j.t, -1, code, "%s ends when the membership is joint:\n%s", args, out)
	j.goesOn("it is joint")
	j.requireMembers(want)
}

// release starts another walproposer, which may leave the joint configuration.
func (j *jointTest) release() {
	j.t.Helper()
	j.c.Kill("walproposer")
	j.c.Start("walproposer", takeover)
}

// goesOn requires that commits are acknowledged, also the one that waits found waiting.
func (j *jointTest) goesOn(why string) {
	j.t.Helper()
	j.t.Log("commits go on: " + why)
	j.w.Await(20)
	if j.waiting != nil {
		require.NoError(j.t, <-j.waiting)
		j.waiting = nil
	}
}

// waits requires that a commit is not acknowledged though some safekeepers have it on
// disk, all that are there of a set.
func (j *jointTest) waits(why string, have ...string) {
	t, c := j.t, j.c
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Deadline)
	t.Cleanup(cancel)
	require.NoError(t, c.Server.Exec(ctx, "SET synchronous_commit = off; CREATE TABLE IF NOT EXISTS held (id int)"))
	conn, err := c.Server.Connect(ctx, "postgres")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(ctx, "INSERT INTO held VALUES (1)").ReadAll()
		done <- errors.Join(err, conn.Close(ctx))
	}()
	waits := fmt.Sprintf("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid = %d", conn.PID())
	c.Eventually("the commit waits", func() bool {
		n, err := c.Server.QueryValue(ctx, waits)
		return err == nil && n == "1"
	})
	text, err := c.Server.QueryValue(ctx, "SELECT pg_current_wal_flush_lsn()")
	require.NoError(t, err)
	end, err := wal.ParseLSN(text)
	require.NoError(t, err)
	for _, name := range have {
		n := c.Safekeepers[slices.IndexFunc(c.Safekeepers, func(n operator.Node) bool { return "safekeeper-"+strconv.Itoa(n.ID) == name })]
		c.Eventually(name+" has it on disk", func() bool { return j.status(n).FlushLSN >= end })
		require.Less(t, j.status(n).CommitLSN, end, why)
	}
	n, err := c.Server.QueryValue(ctx, waits)
	require.NoError(t, err)
	require.Equal(t, "1", n, "a commit was acknowledged: %s", why)
	t.Log("a commit waits: " + why)
	j.waiting = done
}

func (j *jointTest) status(n operator.Node) replication.Status {
	s, err := replication.ParseStatus(askTimeline(j.t, j.c, n.PG, "TIMELINE_STATUS")[0])
	require.NoError(j.t, err)
	return s
}

// secondOperator starts another change and returns when it waits for the first.
func (j *jointTest) secondOperator(args ...string) (cmd *exec.Cmd, ended <-chan struct{}) {
	j.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*cluster.Deadline) // It waits for several things.
	j.t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, filepath.Join(cluster.Programs(j.t), "walhaven"), append([]string{"--cluster", j.c.Dir(), "member"}, args...)...)
	pipe, err := cmd.StderrPipe()
	require.NoError(j.t, err)
	require.NoError(j.t, cmd.Start())
	waiting, end := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(end)
		var said strings.Builder
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			if said.WriteString(lines.Text() + "\n"); strings.Contains(lines.Text(), "comes first") {
				close(waiting)
			}
		}
		if cmd.Wait() != nil {
			j.t.Logf("the second operator:\n%s", said.String())
		}
	}()
	select {
	case <-waiting:
	case <-end:
		require.FailNow(j.t, "a second operator did not wait for the first")
	}
	return cmd, end
}

// becomes waits for a membership, in which commits go on.
func (j *jointTest) becomes(want string) {
	j.t.Helper()
	j.requireMembers(want)
	j.goesOn(want)
}

// requireMembers requires the membership that is in force, as IDs of one set or two, once
// all of them answer.
func (j *jointTest) requireMembers(want string) {
	j.t.Helper()
	j.c.Eventually("the members are "+want, func() bool { return j.members() == want })
}

func (j *jointTest) members() string {
	j.t.Helper()
	out, err := memberCommand(j.t, j.c, "list", "-o", "json").Output()
	if err != nil {
		return err.Error()
	}
	var m operator.Members
	require.NoError(j.t, json.Unmarshal(out, &m), "%s", out)
	var old, joint []string
	for _, n := range m.Nodes {
		if n.Set == "members" || n.Set == "both" {
			old = append(old, n.NodeID)
		}
		if n.Set == "new_members" || n.Set == "both" {
			joint = append(joint, n.NodeID)
		}
	}
	slices.Sort(old)
	slices.Sort(joint)
	if !m.Joint {
		return strings.Join(old, " ")
	}
	return strings.Join(old, " ") + " -> " + strings.Join(joint, " ")
}
