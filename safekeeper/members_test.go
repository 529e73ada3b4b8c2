package safekeeper_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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
