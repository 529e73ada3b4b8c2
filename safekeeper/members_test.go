package safekeeper_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
)

// TestChangeMembersChangesNothingByItself: without a proposer nobody is told, and
// what does not fit is refused.
func TestChangeMembersChangesNothingByItself(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	sk := startSafekeeper(t, 1, nil)
	o.found(t, []*node{sk}, sk)
	incarnation := sk.mustQuery("TIMELINE_STATUS")[0]["incarnation"]
	change := func(generation int, members, incarnations string) string {
		return fmt.Sprintf("CHANGE MEMBERS (generation '%d', members '%s', incarnations '%s')", generation, members, incarnations)
	}
	both := "1=" + incarnation + ",2=" + strings.Repeat("22", 16)
	rows := sk.mustQuery(change(1, "1=a:1,2=b:2", both))
	require.Equal(t, "0", rows[0]["proposers"])
	require.Equal(t, "1", sk.mustQuery("TIMELINE_STATUS")[0]["generation"])
	for sql, why := range map[string]string{
		change(2, "1=a:1,2=b:2", both):             "of generation 1 here",
		change(1, "1=a:1,2=b:2", "1="+incarnation): "incarnation of node 2 is required",
		change(1, "1=a:1,1=b:2", "1="+incarnation): "twice",
		change(1, "1=a:1", both):                   "no member",
		"CHANGE MEMBERS (generation '1')":          "",
		change(1, "", ""):                          "member",
	} {
		_, err := sk.query(sql)
		require.ErrorContains(t, err, why, sql)
	}
}

// TestMembersAskWhoIsToJoin: a proposer ends when it has told nobody but the node that
// joins that the joint membership is in force. The members, who accepted it, learn it
// from there, one that missed the proposal from them.
func TestMembersAskWhoIsToJoin(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	nodes := []*node{startSafekeeper(t, 1, nil), startSafekeeper(t, 2, nil), startSafekeeper(t, 3, nil), startSafekeeper(t, 4, nil)}
	members, joiner := nodes[:3], nodes[3]
	o.found(t, members)
	joiner.mustQuery(o.create(members, ", joining 'true'"))
	joint := pushwal.Configuration{Generation: 2, Members: asMembers(members), NewMembers: asMembers([]*node{nodes[0], nodes[1], joiner})}

	for _, n := range members[:2] {
		p := propose(t, n, o, 1, nil)
		p.append(o.end(), 0)
		p.send(p.codec.AppendConfigurationRequest(nil, &pushwal.ConfigurationRequest{Generation: 1, Term: 1, Config: joint}))
		p.append(o.end(), o.end()) // Its answer comes behind the other one's.
		p.waitFlush(o.end())
		n.waitLSN("commit_lsn", o.end())
		p.close()
	}
	for _, n := range nodes {
		require.Equal(t, "1", n.mustQuery("TIMELINE_STATUS")[0]["generation"], "node %d", n.id)
	}
	told := greet(t, joiner, o, 1, pushwal.ProposerGreeting{TLI: 1, Config: joint})
	go told.listen()
	told.close()

	for _, n := range nodes {
		require.Eventually(t, func() bool {
			rows, err := n.query("TIMELINE_STATUS")
			return err == nil && rows[0]["generation"] == "2" && rows[0]["joining"] == "f"
		}, patience, 20*time.Millisecond, "node %d knows the joint membership", n.id)
	}
}
