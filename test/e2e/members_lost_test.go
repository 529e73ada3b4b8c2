package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// A safekeeper that lost its timeline and kept its identity cannot be told from the
// member that it was: replacing it says what to do, in place of that all is done. So does
// replacing one that is no member.
func TestSafekeeperThatKeptItsIdentity(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	n := c.Safekeepers[1]
	c.Kill("safekeeper-2")
	require.NoError(t, os.RemoveAll(filepath.Join(n.DataDir, c.Tenant.String())))
	c.Start("safekeeper-2")
	c.Eventually("the walproposer had it join", func() bool {
		return c.CollectStatus(t.Context()).Safekeepers[1].Joining
	})
	out, code := c.Walhaven("member", "replace", "2", n.PG)
	require.NotZero(t, code, out)
	require.Contains(t, out, "kept its identity")
	require.Contains(t, out, "empty all of its data directory")

	c.Kill("safekeeper-2")
	require.NoError(t, os.RemoveAll(n.DataDir))
	c.Start("safekeeper-2")
	require.EqualValues(t, 3, member(t, c, "replace", "2", n.PG).Generation)
	requireState(t, c, operator.StateSafe)

	// A number that was mistyped must not add one without removing another.
	fourth := cluster.NewKeeper(t, 4, "")
	out, code = c.Walhaven("member", "replace", "22", fourth.PG)
	require.NotZero(t, code, out)
	require.Contains(t, out, "node 22 is no member of generation 3, nothing was changed")
	require.EqualValues(t, 5, member(t, c, "replace", "2", fourth.PG).Generation)
	require.EqualValues(t, 5, member(t, c, "replace", "2", fourth.PG).Generation, "done already")
}

// onlyReads: a user without the attribute admin looks at the members, and is told that
// he may not change them.
func onlyReads(t *testing.T, c *cluster.Cluster) {
	verifier, err := auth.MakeVerifier(password(t, c))
	require.NoError(t, err)
	users, err := os.OpenFile(filepath.Join(c.Dir(), "users"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = users.WriteString(auth.User{Name: "reader", Verifier: verifier}.String() + "\n")
	require.NoError(t, err)
	require.NoError(t, users.Close())
	reader := *c.Cluster
	reader.User = "reader"
	c.Eventually("the users file is read again", func() bool {
		_, err = reader.ListMembers(t.Context())
		return err == nil
	})
	for name, change := range map[string]func(context.Context, operator.MemberChange) (*operator.Members, error){
		"remove": reader.ChangeMembers, "abort": reader.AbortChange,
	} {
		_, err = change(t.Context(), operator.MemberChange{Remove: 3, Timeout: cluster.Deadline})
		require.ErrorContains(t, err, "permission denied for CHANGE MEMBERS", name)
	}
}
