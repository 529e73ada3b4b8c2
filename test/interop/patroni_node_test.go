package interop

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/test/cluster"
)

// patroniConfig is a node's patroni.yml; deploy/patroni/README.md says the same of
// walhaven's part.
const patroniConfig = `
scope: walhaven
name: %[1]s
restapi: {listen: '127.0.0.1:%[2]d', connect_address: '127.0.0.1:%[2]d'}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    synchronous_mode: false
    ignore_slots: [{name: walhaven, type: physical}]
    postgresql:
      use_pg_rewind: false
      parameters: {max_wal_senders: 10, max_replication_slots: 10, shared_buffers: 16MB, autovacuum: 'off'}
  initdb: [{encoding: UTF8}]
postgresql:
  listen: 127.0.0.1:%[3]d
  connect_address: 127.0.0.1:%[3]d
  data_dir: %[4]s/pgdata
  pgpass: %[4]s/pgpass
  bin_dir: %[5]s
  authentication: {superuser: {username: postgres}, replication: {username: replicator}}
  parameters: {unix_socket_directories: %[4]s}
  pg_hba: [local all all trust, host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust]
  pre_promote: %[4]s/pre_promote
  callbacks: {on_start: %[4]s/callback, on_stop: %[4]s/callback, on_role_change: %[4]s/callback}
`

// systemctl starts and stops what stands for the walproposer's unit.
const systemctl = `#!/bin/sh
cd "$(dirname "$0")"
test -f service || exit 1
case $1 in
start)
	kill -0 "$(cat service.pid 2>/dev/null)" 2>/dev/null && exit 0
	eval "setsid $(cat service) >>service.log 2>&1 </dev/null &"
	echo $! >service.pid
	;;
stop) kill "$(cat service.pid 2>/dev/null)" 2>/dev/null ;;
esac
exit 0
`

// configure writes what the node needs.
func (n *patroniNode) configure(i int) {
	t, p := n.p.t, n.p
	hooks, err := filepath.Abs("../../deploy/patroni")
	require.NoError(t, err)
	programs := cluster.Programs(t)
	text := fmt.Sprintf(patroniConfig, n.name, n.rest, n.pg, n.dir, p.install.BinDir)
	require.NoError(t, os.WriteFile(n.file("patroni.yml"), []byte(text+p.raft(i, n.dir)), 0o644))
	psql, err := p.install.Tool("psql")
	require.NoError(t, err)
	// Patroni's account may not be able to enter this source tree.
	for _, name := range []string{"pre_promote.sh", "callback.sh"} {
		script, err := os.ReadFile(filepath.Join(hooks, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(n.file(name), script, 0o755))
	}
	for name, text := range map[string]string{
		"systemctl": systemctl,
		"callback":  fmt.Sprintf("#!/bin/sh\nSYSTEMCTL=%s exec sh %s \"$@\"\n", n.file("systemctl"), n.file("callback.sh")),
		"pre_promote": fmt.Sprintf("#!/bin/sh\nexport WALHAVEN=%s/walhaven PSQL=%s WALHAVEN_CLUSTER=%s PGHOST=127.0.0.1 PGPORT=%d PGUSER=postgres\n"+
			"WALHAVEN_SAFEKEEPERS=\"$(cat %s)\" exec sh %s\n", programs, psql, p.clusterDir(), n.pg, n.file("safekeepers"), n.file("pre_promote.sh")),
	} {
		require.NoError(t, os.WriteFile(n.file(name), []byte(text), 0o755))
	}
}

func (n *patroniNode) file(name string) string { return filepath.Join(n.dir, name) }

func (n *patroniNode) start() {
	n.cmd = n.p.run(n.file("log"), "patroni", n.file("patroni.yml"))
	n.p.t.Cleanup(n.lose)
}

func (n *patroniNode) log() string {
	text, err := os.ReadFile(n.file("log"))
	require.NoError(n.p.t, err)
	return string(text)
}

// lose ends everything of the node as the loss of its machine would.
func (n *patroniNode) lose() {
	_ = n.cmd.Process.Kill()
	for _, pidFile := range []string{n.file("pgdata/postmaster.pid"), n.file("service.pid")} {
		text, err := os.ReadFile(pidFile)
		if err != nil {
			continue
		}
		var pid int
		if _, err := fmt.Sscan(string(text), &pid); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if n == n.p.nodes[0] {
		n.p.killWalproposer() // It was started by attach.
	}
}

func (n *patroniNode) conninfo() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres", n.pg)
}

func (n *patroniNode) url(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", n.rest, path)
}

// is asks Patroni for a role.
func (n *patroniNode) is(role string) bool {
	code, _ := cluster.Get(n.p.t, n.url("/"+role))
	return code == http.StatusOK
}

// ask runs a statement and returns the first column.
func (n *patroniNode) ask(sql string) ([]string, error) {
	ctx, cancel := context.WithTimeout(n.p.t.Context(), 30*time.Second)
	defer cancel()
	conn, err := pgconn.Connect(ctx, n.conninfo())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	var column []string
	for _, row := range results[0].Rows {
		column = append(column, strings.TrimSpace(string(row[0])))
	}
	return column, nil
}

func (n *patroniNode) query(sql string) []string {
	n.p.t.Helper()
	column, err := n.ask(sql)
	require.NoError(n.p.t, err)
	return column
}
