package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// memberKill is a run of walhaven member that is killed at a fail point.
type memberKill struct{ command, point string }

// memberKills are where the commands are killed: those of one command one after the
// other, each run going on where the one before it died. The rows "joint" are for a
// joint state that stands still because the walproposer dies in it.
var memberKills = []memberKill{
	{"replace", "operator/member/found/before"},
	{"replace", "operator/member/found/after"},
	{"replace", "operator/member/ask"},
	{"replace", "operator/member/told"},
	{"replace", "operator/member/established"},
	{"replace", "operator/member/file/before"},
	{"replace", "operator/member/file/after"},

	{"add", "operator/member/found/before"},
	{"add", "operator/member/found/after"},
	{"add", "operator/member/ask"},
	{"add", "operator/member/told"},
	{"add", "operator/member/established"},
	{"add", "operator/member/file/before"},
	{"add", "operator/member/file/after"},

	{"remove", "operator/member/ask"},
	{"remove", "operator/member/told"},
	{"remove", "operator/member/established"},

	// Nothing is left to abort but the cluster file, which remove did not come to.
	{"abort", "operator/member/ask"},
	{"abort", "operator/member/told"},
	{"abort", "operator/member/established"},
	{"abort", "operator/member/file/before"},
	{"abort", "operator/member/file/after"},

	{"joint replace", "operator/member/joint"},
	{"joint abort", "operator/member/back"},
}

// TestMemberGoesOnAfterACrash kills walhaven member with SIGKILL before and after each
// thing that it does, while clients write. Called again it ends with the members that
// were wanted, and a cluster file that names them.
func TestMemberGoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	requireMemberRows(t)
	c := cluster.New(t, cluster.Options{})
	// Else one of them would settle the end of WAL in the place of a walproposer that is
	// dead, and the joint state with it.
	const never = "0s"
	for _, n := range c.Safekeepers {
		name := "safekeeper-" + strconv.Itoa(n.ID)
		c.Kill(name)
		c.Start(name, "WALHAVEN_SAFEKEEPER_HEADLESS_AFTER="+never)
	}
	w := c.StartWriter(2)
	w.Await(20)
	m := &memberCrashes{t: t, c: c, w: w}
	fourth, fifth := cluster.NewKeeper(t, 4, "", "--headless-after", never), cluster.NewKeeper(t, 5, "", "--headless-after", never)
	third := c.Safekeepers[2].PG

	m.killed("replace", "3", fourth.PG)
	m.ends([]string{"1", "2", "4"}, "replace", "3", fourth.PG)
	m.killed("add", fifth.PG)
	m.ends([]string{"1", "2", "4", "5"}, "add", fifth.PG)
	m.killed("remove", "4")
	m.killed("abort")
	m.ends([]string{"1", "2", "5"}, "abort")
	out, code := m.run("", "remove", "4")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "node 4 is no member")

	// The third comes back with what it has.
	m.inJoint("joint replace", "replace", "5", third)
	m.ends([]string{"1", "2", "3"}, "replace", "5", third)
	m.inJoint("joint replace", "replace", "3", fourth.PG)
	m.inJoint("joint abort", "abort")
	m.awaken()
	out, code = m.run("", "abort") // Who is first, it or the new walproposer?
	require.True(t, code == 0 || strings.Contains(out, "had gone through"), "%d: %s", code, out)
	t.Logf("abort after kills: %s", out)
	m.ends([]string{"1", "2", "4"}, "replace", "3", fourth.PG)

	require.Equal(t, len(memberKills)+1, m.kills)
	acked := w.Stop()
	require.Empty(t, w.Failures(), "no transaction fails")
	sameBytes(t, c)
	t.Logf("killed %d times, %d commits meanwhile", m.kills, len(acked))
}

// memberCrashes is a cluster whose members change.
type memberCrashes struct {
	t     *testing.T
	c     *cluster.Cluster
	w     *cluster.Writer
	kills int
	armed bool // the walproposer dies in the next joint state
}

// run runs walhaven member, with fail points.
func (m *memberCrashes) run(rules string, args ...string) (string, int) {
	m.t.Helper()
	return cluster.WalhavenAt(m.t, rules, append([]string{"--cluster", m.c.Dir(), "member"}, args...)...)
}

// killed runs a command once for each of its rows.
func (m *memberCrashes) killed(args ...string) {
	m.t.Helper()
	m.killedAs(args[0], args...)
	m.w.Await(10)
}

func (m *memberCrashes) killedAs(rows string, args ...string) {
	m.t.Helper()
	for _, row := range memberKills {
		if row.command != rows {
			continue
		}
		began := time.Now()
		rules, at := row.point+"@1=kill", row.point
		if m.armed { // The command may campaign in the place of the one that is dead.
			rules, at = rules+","+leavesJoint, ""
		}
		out, code := m.run(rules, args...)
		require.Equal(m.t, -1, code, "%s is killed at %s and nothing else:\n%s", args, row.point, out)
		require.Contains(m.t, out, "fail point "+at)
		m.kills++
		m.t.Logf("%s killed at %s after %s", args[0], row.point, time.Since(began).Round(time.Millisecond))
	}
}

// leavesJoint kills whoever proposes to leave the joint state, before anybody hears.
const leavesJoint = "proposing/members/final=kill"

// inJoint is killed with a walproposer that dies, all of it at once, before it proposes
// to leave the joint state: nobody is left who could.
func (m *memberCrashes) inJoint(rows string, args ...string) {
	m.t.Helper()
	if !m.armed {
		m.c.Kill("walproposer")
		m.c.Start("walproposer", "WALHAVEN_FAILPOINTS="+leavesJoint, "WALHAVEN_WALPROPOSER_TAKEOVER=true", "WALHAVEN_WALPROPOSER_IN_PROCESS=true")
		m.armed = true
		m.w.Await(10)
	}
	m.killedAs(rows, args...)
}

// awaken starts the walproposer anew without fail points.
func (m *memberCrashes) awaken() {
	m.t.Helper()
	if m.armed {
		if pid := m.c.PID("walproposer"); pid != 0 { // Not if it came to the joint state.
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		m.c.Eventually("the walproposer is gone", func() bool { return m.c.PID("walproposer") == 0 })
		m.c.StartUnready("walproposer", "WALHAVEN_WALPROPOSER_TAKEOVER=true")
		m.armed = false
	}
}

// ends runs a command to its end, and requires the members that it leaves.
func (m *memberCrashes) ends(want []string, args ...string) {
	m.t.Helper()
	m.awaken()
	began := time.Now()
	out, code := m.run("", args...)
	require.Zero(m.t, code, "%s after kills:\n%s", args, out)
	m.t.Logf("%s ended after %s", args[0], time.Since(began).Round(time.Millisecond))
	m.w.Await(10)
	members := member(m.t, m.c, "list")
	require.False(m.t, members.Joint)
	var names []string
	addresses := map[string]string{}
	for _, n := range members.Nodes {
		if n.Set != "" {
			names, addresses[n.NodeID] = append(names, n.NodeID), n.Address
		}
	}
	slices.Sort(names)
	require.Equal(m.t, want, names)
	loaded, err := operator.LoadCluster(filepath.Join(m.c.Dir(), operator.ClusterFile))
	require.NoError(m.t, err)
	inFile := map[string]string{}
	for _, n := range loaded.Safekeepers {
		inFile[strconv.Itoa(n.ID)] = n.PG
		require.NotEmpty(m.t, n.HTTP, "safekeeper %d", n.ID)
	}
	require.Equal(m.t, addresses, inFile, "the cluster file names the members")
	m.c.Cluster = loaded
}

// requireMemberRows keeps the table complete: each fail point of the commands has a row.
func requireMemberRows(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("../../operator/*.go")
	require.NoError(t, err)
	inSource := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, found := range regexp.MustCompile(`invariant\.Point(?:Err)?\("(operator/member/[a-z/-]+)"\)`).FindAllSubmatch(text, -1) {
			inSource[string(found[1])] = true
		}
	}
	inTable := map[string]bool{}
	for _, row := range memberKills {
		inTable[row.point] = true
	}
	require.Equal(t, inSource, inTable, "memberKills has a row for each fail point of walhaven member, and no other")
}
