package safekeeper_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/internal/access"
	"github.com/walhaven/walhaven/pageserver"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/safekeeper"
)

// usersFile has one user with all rights and one that may see a tenant only.
func usersFile(t *testing.T, password string) string {
	t.Helper()
	v, err := auth.MakeVerifier(password)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "users")
	lines := auth.User{Name: "walhaven", Verifier: v, Admin: true}.String() + "\n" +
		auth.User{Name: "reader", Verifier: v, Tenant: &testID.Tenant}.String() + "\n"
	require.NoError(t, os.WriteFile(path, []byte(lines), 0o600))
	return path
}

// With a users file everybody logs in: clients, the pushes to the pageserver,
// and the peers.
func TestEverybodyLogsInWithAUsersFile(t *testing.T) {
	const password = "it's a 'secret' \\ one"
	users := usersFile(t, password)
	secret := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(secret, []byte(password+"\n"), 0o600))
	access := access.Config{UsersFile: users}
	policy, _, err := access.Policy(logger(t))
	require.NoError(t, err)

	o := builtOrigin(t, 1<<20)
	ps := startProtectedPageserver(t, policy)
	var server *safekeeper.Server
	protected := func(id uint64) *node {
		n := &node{id: id, dir: t.TempDir()}
		n.password = password
		n.process = &process{t: t, addr: freeAddr(t), start: func(ln net.Listener) func(context.Context) error {
			c := safekeeper.DefaultConfig()
			c.ID, c.DataDir, c.MinFreeDisk = id, n.dir, 1
			c.Peer.PeerPasswordFile, c.Pageserver = secret, []string{ps.addr}
			s, err := safekeeper.New(safekeeper.Options{Config: c, Auth: policy, Logger: logger(t).With("sk", id)})
			require.NoError(t, err)
			server = s
			return func(ctx context.Context) error { return s.Run(ctx, ln) }
		}}
		n.up()
		t.Cleanup(n.down)
		return n
	}
	a, b := protected(1), protected(2)
	o.found(t, []*node{a, b})

	_, err = replication.Query(t.Context(), fmt.Sprintf("%s user=walhaven password=wrong", a.conninfo()), "SHOW NODE", a.options())
	require.Equal(t, "28P01", protocol.SQLState(err))
	reader := replication.DialOptions{Params: map[string]string{"user": "reader"}}
	rows, err := replication.Query(t.Context(), a.conninfo()+" user=reader", "TIMELINE_STATUS", reader)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	incarnation := rows[0]["incarnation"]
	readerChangesNothing(t, a, server, incarnation)
	require.Equal(t, "1", a.mustQuery("TIMELINE_STATUS")[0]["generation"])
	reader.Params["options"] = "-c tenant_id=00000000000000000000000000000001"
	_, err = replication.Query(t.Context(), a.conninfo()+" user=reader", "TIMELINE_STATUS", reader)
	require.Equal(t, "42501", protocol.SQLState(err))

	// Reading is all that a user without the attribute admin may do: a vote
	// request of his would depose the writer.
	delete(reader.Params, "options")
	for _, command := range []string{
		"START_WAL_PUSH (proto_version '3', allow_timeline_creation 'false', walhaven '1')",
		"START_REPLICATION PHYSICAL " + o.end().String() + " (term='1')",
	} {
		reader.Params["replication"] = "true"
		_, err = replication.Dial(t.Context(), a.conninfo()+" user=reader", command, reader)
		require.Equal(t, "42501", protocol.SQLState(err), command)
	}

	p := propose(t, a, o, 1, nil)
	p.append(o.end(), 0)
	p.waitFlush(o.end())
	p.append(o.end(), o.end())
	p.close()
	ps.waitLSN("disk_consistent_lsn", o.end())
	b.waitLSN("commit_lsn", o.end())
}

// readerChangesNothing: a user without the attribute admin runs no command that changes
// something, whatever the table of commands has. A forced membership on each member by
// itself would give each of them the right to commit alone.
func readerChangesNothing(t *testing.T, n *node, server *safekeeper.Server, incarnation string) {
	t.Helper()
	members := fmt.Sprintf("members '1=%s', incarnations '1=%s'", n.addr, incarnation)
	statements := map[string]string{
		"CREATE TIMELINE": "CREATE TIMELINE 00000000000000000000000000000001 00000000000000000000000000000001 " +
			"(system_id '1', pg_version '150000', start_lsn '0/8', members '1=h:1')",
		"CHANGE MEMBERS":  "CHANGE MEMBERS (generation '1', " + members + ")",
		"FORCE MEMBERS":   "FORCE MEMBERS (generation '1000', " + members + ", accept_loss_after 'FFFFFFFF/FFFFFFF8')",
		"RECORD INTERVAL": "RECORD INTERVAL (began '2026-03-01T10:42:04.5Z', from_lsn '0/1', to_lsn '0/0', reason 'x')",
	}
	for _, name := range server.ChangingCommands() {
		if name == "CREATE TOKEN" {
			continue // It gives away what its maker has.
		}
		require.Contains(t, statements, name, "what a reader must not do")
		_, err := replication.Query(t.Context(), n.conninfo()+" user=reader", statements[name],
			replication.DialOptions{Params: map[string]string{"user": "reader"}})
		require.Equal(t, "42501", protocol.SQLState(err), name)
	}
}

func startProtectedPageserver(t *testing.T, policy auth.Policy) *node {
	t.Helper()
	n := &node{id: 9, dir: t.TempDir()}
	n.password = "it's a 'secret' \\ one"
	n.process = &process{t: t, addr: freeAddr(t), start: func(ln net.Listener) func(context.Context) error {
		c := pageserver.DefaultConfig()
		c.ID, c.DataDir = 9, n.dir
		s, err := pageserver.New(pageserver.Options{Config: c, Auth: policy, Logger: logger(t).With("ps", 9)})
		require.NoError(t, err)
		return func(ctx context.Context) error { return s.Run(ctx, ln) }
	}}
	n.up()
	t.Cleanup(n.down)
	return n
}
