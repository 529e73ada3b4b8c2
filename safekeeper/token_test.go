package safekeeper_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/access"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/safekeeper"
)

// startWithUsers is a safekeeper with the users of usersFile.
func startWithUsers(t *testing.T, id uint64, password string) *node {
	t.Helper()
	config := access.Config{UsersFile: usersFile(t, password)}
	n := &node{id: id, dir: t.TempDir(), password: password}
	n.process = &process{t: t, addr: freeAddr(t), start: func(ln net.Listener) func(context.Context) error {
		policy, _, err := config.Policy(logger(t))
		require.NoError(t, err)
		c := safekeeper.DefaultConfig()
		c.ID, c.DataDir, c.MinFreeDisk, c.HeadlessAfter = id, n.dir, 1, 0
		s, err := safekeeper.New(safekeeper.Options{Config: c, Auth: policy, Tokens: policy.Tokens, Logger: logger(t).With("sk", id)})
		require.NoError(t, err)
		return func(ctx context.Context) error { return s.Run(ctx, ln) }
	}}
	n.up()
	t.Cleanup(n.down)
	return n
}

// withToken makes a token as the node's user, or as another one, and returns how
// to log in with it.
func (n *node) withToken(as string) string {
	n.t.Helper()
	rows, err := replication.Query(n.t.Context(), n.conninfo()+as, "CREATE TOKEN (expires_in '600')", n.options())
	require.NoError(n.t, err)
	require.Len(n.t, rows, 1)
	require.NotEmpty(n.t, rows[0]["expires_at"])
	return fmt.Sprintf("%s user=%s password=%s", n.conninfo(), rows[0]["user_name"], rows[0]["password"])
}

// CREATE TOKEN gives a login for one connection to one timeline: it may push WAL
// if its maker may, and do nothing that needs an admin.
func TestCreateToken(t *testing.T) {
	const push = "START_WAL_PUSH (proto_version '3', allow_timeline_creation 'false', walhaven '1')"
	n := startWithUsers(t, 1, "secret")
	replicating := n.options()
	replicating.Params["replication"] = "true"

	// Before the timeline is there, by its IDs.
	token := n.withToken("")
	_, err := replication.Dial(t.Context(), token, push, replicating)
	require.Equal(t, "42704", protocol.SQLState(err), "the timeline is not here yet")
	o := builtOrigin(t, 1<<20)
	o.found(t, []*node{n})

	token = n.withToken("")
	stream, err := replication.Dial(t.Context(), token, push, replicating)
	require.NoError(t, err)
	require.Equal(t, "walhaven", n.mustQuery("SHOW RECEIVERS")[0]["usename"], "whose token it is")
	_, err = replication.Dial(t.Context(), token, push, replicating)
	require.Equal(t, "28P01", protocol.SQLState(err), "used twice")
	require.NoError(t, stream.Close())

	_, err = replication.Dial(t.Context(), n.withToken(" user=reader"), push, replicating)
	require.Equal(t, "42501", protocol.SQLState(err), "a reader's token may read")
	rows, err := replication.Query(t.Context(), n.withToken(" user=reader"), "TIMELINE_STATUS", replication.DialOptions{})
	require.NoError(t, err)
	require.Len(t, rows, 1, "without options a token means its timeline")

	for statement, code := range map[string]string{
		"CREATE TIMELINE 00000000000000000000000000000001 00000000000000000000000000000001 (system_id '1', pg_version '150000', start_lsn '0/8', members '1=h:1')": "42501",
		"CREATE TOKEN": "42501",
	} {
		_, err = replication.Query(t.Context(), n.withToken(""), statement, n.options())
		require.Equal(t, code, protocol.SQLState(err), statement)
	}
	elsewhere := n.options()
	elsewhere.Params["options"] = strings.Replace(elsewhere.Params["options"], testID.Timeline.String(), strings.Repeat("c", 32), 1)
	_, err = replication.Query(t.Context(), n.withToken(""), "TIMELINE_STATUS", elsewhere)
	require.Equal(t, "42501", protocol.SQLState(err), "of another timeline")

	for _, seconds := range []string{"0", "3601", "x"} {
		_, err = n.query("CREATE TOKEN (expires_in '" + seconds + "')")
		require.Error(t, err, seconds)
	}
	_, err = replication.Query(t.Context(), n.conninfo(), "CREATE TOKEN", replication.DialOptions{Params: map[string]string{"options": "-c timeline_id=nowhere"}})
	require.Equal(t, "42704", protocol.SQLState(err))
	token = n.withToken("")
	n.restart()
	_, err = replication.Query(t.Context(), token, "SHOW NODE", replication.DialOptions{})
	require.Equal(t, "28P01", protocol.SQLState(err), "tokens are in memory only")
}
