package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/test/cluster"
)

// TestMemberAbort takes back the wish for a member that hangs before it is filled: the
// walproposer leaves it alone, and it becomes none when it is back.
func TestMemberAbort(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	fourth := cluster.NewKeeper(t, 4, "")
	before := member(t, c, "list")
	// It has the timeline, can be wished for, and is not yet.
	out, code := cluster.WalhavenAt(t, "operator/member/found/after@1=kill", "--cluster", c.Dir(), "member", "add", fourth.PG)
	require.Equal(t, -1, code, out)
	w := c.StartWriter(2)
	w.Await(20)

	wish := pushwal.Configuration{Generation: pushwal.Generation(before.Generation)}
	for _, n := range append(c.Safekeepers, operator.Node{ID: 4, PG: fourth.PG}) {
		wish.Members = append(wish.Members, memberAt(t, c, n))
	}
	change := fmt.Sprintf("CHANGE MEMBERS (generation '%d', members '%s', incarnations '%s')", wish.Generation,
		replication.FormatMembers(wish.Members), replication.FormatIncarnations(wish.Members))
	said := func(what string) int { return strings.Count(walproposerLog(t, c), what) }
	require.NoError(t, syscall.Kill(fourth.PID(), syscall.SIGSTOP))
	c.Eventually("the walproposer wants the fourth", func() bool {
		for _, n := range c.Safekeepers {
			askTimeline(t, c, n.PG, change)
		}
		return said("a member joins") > 0
	})
	// It goes on trying for as long as it is wanted.
	c.Eventually("the walproposer has decided about it", func() bool {
		return said("a new member is waited for")+said("no member any more") > 0
	})
	require.Zero(t, said("no member any more"))
	after := member(t, c, "abort")
	require.Equal(t, before.Generation, after.Generation)
	c.Eventually("it leaves the fourth alone", func() bool { return said("no member any more") > 0 })
	require.NoError(t, syscall.Kill(fourth.PID(), syscall.SIGCONT))
	w.Await(20)
	after = member(t, c, "list")
	require.Equal(t, before.Generation, after.Generation, "back, it is wished for no more")
	require.False(t, after.Joint)
	require.Empty(t, w.Failures())
	w.Stop()
}

func walproposerLog(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	text, err := os.ReadFile(c.LogFile("walproposer"))
	require.NoError(t, err)
	return string(text)
}

// askTimeline asks a safekeeper about the cluster's timeline.
func askTimeline(t *testing.T, c *cluster.Cluster, address, sql string) []replication.Row {
	t.Helper()
	conninfo := fmt.Sprintf("host=127.0.0.1 port=%s user=%s password=%s", portOf(t, address), c.User, password(t, c))
	rows, err := replication.Query(context.Background(), conninfo, sql, replication.DialOptions{
		Timeout: cluster.Deadline, Params: map[string]string{"options": fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", c.Tenant, c.Timeline)},
	})
	require.NoError(t, err)
	return rows
}

// memberAt is the node at an address as a membership names it.
func memberAt(t *testing.T, c *cluster.Cluster, n operator.Node) pushwal.Member {
	t.Helper()
	s, err := replication.ParseStatus(askTimeline(t, c, n.PG, "TIMELINE_STATUS")[0])
	require.NoError(t, err)
	port := uint16(0)
	_, err = fmt.Sscan(portOf(t, n.PG), &port)
	require.NoError(t, err)
	return pushwal.Member{ID: s.NodeID, Host: "127.0.0.1", Port: port, Incarnation: s.Incarnation}
}
