package interop

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// patroniVariable names the folder that Patroni's programs are in; scripts/patroni.sh
// brings them.
const patroniVariable = "WALHAVEN_PATRONI"

// TestPatroniFailsOver loses the leader of a real Patroni cluster under load. The
// scripts of deploy/patroni have the other node promoted with every acknowledged
// commit, and its walproposer started, without anybody's hand.
func TestPatroniFailsOver(t *testing.T) {
	if os.Getenv(patroniVariable) == "" {
		t.Skip(patroniVariable + " names no folder with patroni: in a long run")
	}
	p := newPatroni(t)
	a, b := p.nodes[0], p.nodes[1]
	a.start()
	p.eventually("the first node leads", func() bool { return a.is("primary") })
	b.start()
	p.eventually("the second node follows", func() bool { return b.is("replica") })
	p.attach(a)

	acked := p.write(a, 300)
	at := time.Now()
	a.lose()
	p.eventually("the second node leads", func() bool {
		recovers, err := b.ask("SELECT pg_is_in_recovery()")
		return err == nil && recovers[0] == "f"
	})
	led := time.Since(at)
	more := p.write(b, 100)
	t.Logf("%d acknowledged commits; the second node led %s after the loss, %s until commits went on", len(acked)+len(more), led.Round(time.Millisecond), time.Since(at).Round(time.Millisecond))
	rows := b.query("SELECT id FROM acked")
	there := map[string]bool{}
	for _, row := range rows {
		there[row] = true
	}
	for _, id := range append(acked, more...) {
		require.True(t, there[strconv.Itoa(id)], "row %d is lost", id)
	}
	require.Equal(t, []string{"sync"}, b.query("SELECT sync_state FROM pg_stat_replication WHERE application_name = 'walhaven'"))
	require.Contains(t, b.log(), "walhaven pre_promote: safe: this server has replayed up to")
}

// patroni is a cluster of two nodes, with a third that only votes.
type patroni struct {
	t       *testing.T
	dir     string
	bin     string // of Patroni
	install compute.Install
	keepers []*cluster.Keeper
	nodes   []*patroniNode
	rafts   []int
	next    int // insert
}

// patroniNode is Patroni with its PostgreSQL and walproposer.
type patroniNode struct {
	p        *patroni
	name     string
	dir      string
	pg, rest int
	http     int // of its walproposer
	cmd      *exec.Cmd
}

func newPatroni(t *testing.T) *patroni {
	p := &patroni{t: t, dir: computetest.TempDir(t), bin: os.Getenv(patroniVariable), install: computetest.Find(t, 0)}
	require.NoError(t, compute.Reachable(p.bin))
	for id := 1; id <= 3; id++ {
		p.keepers = append(p.keepers, cluster.NewKeeper(t, id, ""))
		p.rafts = append(p.rafts, p.port())
	}
	for i, name := range []string{"a", "b"} {
		n := &patroniNode{p: p, name: name, dir: p.folder(name), pg: p.port(), rest: p.port(), http: p.port()}
		p.nodes = append(p.nodes, n)
		n.configure(i)
	}
	voter := filepath.Join(p.folder("voter"), "voter.yml")
	require.NoError(t, os.WriteFile(voter, []byte(p.raft(2, filepath.Join(p.dir, "voter"))), 0o644))
	p.run(filepath.Join(p.dir, "voter", "log"), "patroni_raft_controller", voter)
	return p
}

func (p *patroni) port() int {
	port, err := compute.FreePort()
	require.NoError(p.t, err)
	return port
}

// folder makes one that belongs to PostgreSQL's account.
func (p *patroni) folder(name string) string {
	dir := filepath.Join(p.dir, name)
	require.NoError(p.t, os.Mkdir(dir, 0o755))
	account, err := compute.RunAs()
	require.NoError(p.t, err)
	require.NoError(p.t, account.Own(dir))
	return dir
}

// run starts a program as PostgreSQL's account in a session of its own, which ends
// with the test.
func (p *patroni) run(log, program string, args ...string) *exec.Cmd {
	account, err := compute.RunAs()
	require.NoError(p.t, err)
	out, err := os.Create(log)
	require.NoError(p.t, err)
	defer func() { _ = out.Close() }()
	cmd := exec.Command(filepath.Join(p.bin, program), args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, p.dir
	cmd.Env = append(os.Environ(), "HOME="+p.dir, "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account.Credential(), Setsid: true}
	require.NoError(p.t, cmd.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if text, err := os.ReadFile(log); err == nil && p.t.Failed() {
			p.t.Logf("%s:\n%s", log, text[max(0, len(text)-9000):])
		}
	})
	return cmd
}

func (p *patroni) eventually(what string, cond func() bool) {
	p.t.Helper()
	cluster.Eventually(p.t, what, cond)
}

// raft is the part of a configuration about who votes.
func (p *patroni) raft(self int, dir string) string {
	var partners []string
	for i, port := range p.rafts {
		if i != self {
			partners = append(partners, fmt.Sprint("127.0.0.1:", port))
		}
	}
	return fmt.Sprintf("raft: {data_dir: %s/raft, self_addr: '127.0.0.1:%d', partner_addrs: ['%s']}\n", dir, p.rafts[self], strings.Join(partners, "', '"))
}

func (p *patroni) safekeepers() string {
	var ports []string
	for _, k := range p.keepers {
		ports = append(ports, k.PG[strings.LastIndexByte(k.PG, ':')+1:])
	}
	return "host=127.0.0.1,127.0.0.1,127.0.0.1 port=" + strings.Join(ports, ",") + " user=walhaven"
}

// attach has the walproposer of the leader started, and then commits wait by way of
// Patroni's configuration.
func (p *patroni) attach(leader *patroniNode) {
	var addresses []string
	for _, k := range p.keepers {
		addresses = append(addresses, k.PG)
	}
	out, code := cluster.Walhaven(p.t, "attach", "--dir", p.clusterDir(), "--postgres", leader.conninfo(), "--safekeepers", strings.Join(addresses, ","),
		"--listen-http", fmt.Sprint("127.0.0.1:", leader.http))
	require.Zero(p.t, code, out)
	require.Contains(p.t, out, "synchronous_standby_names", "it says what is to be written into Patroni's configuration")
	p.t.Cleanup(func() { p.killWalproposer() })
	c, err := operator.LoadCluster(filepath.Join(p.clusterDir(), operator.ClusterFile))
	require.NoError(p.t, err)
	timeline := fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", c.Tenant, c.Timeline)
	for _, n := range p.nodes {
		line := fmt.Sprintf("%s --postgres 'host=127.0.0.1 port=%d user=walhaven dbname=postgres' --safekeepers %s --tenant-id %s --timeline %s --listen-http 127.0.0.1:%d --takeover-after 1s",
			filepath.Join(cluster.Programs(p.t), "walproposer"), n.pg, strings.Join(addresses, ","), c.Tenant, c.Timeline, n.http)
		require.NoError(p.t, os.WriteFile(filepath.Join(n.dir, "service"), []byte(line), 0o644))
		require.NoError(p.t, os.WriteFile(filepath.Join(n.dir, "safekeepers"), []byte(p.safekeepers()+" options='"+timeline+"'"), 0o644))
	}
	change := fmt.Sprintf(`{"postgresql": {"parameters": {"synchronous_standby_names": "walhaven"}, "recovery_conf": {"restore_command": "%s/walhaven --cluster %s wal get %%f %%p"}}}`,
		cluster.Programs(p.t), p.clusterDir())
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPatch, leader.url("/config"), bytes.NewBufferString(change))
	require.NoError(p.t, err)
	answer, err := http.DefaultClient.Do(req)
	require.NoError(p.t, err)
	require.NoError(p.t, answer.Body.Close())
	require.Equal(p.t, http.StatusOK, answer.StatusCode)
	for _, n := range p.nodes {
		p.eventually("commits are to wait on "+n.name, func() bool {
			names, err := n.ask("SHOW synchronous_standby_names")
			return err == nil && len(names) == 1 && names[0] == "walhaven"
		})
	}
}

func (p *patroni) clusterDir() string { return filepath.Join(p.dir, "cluster") }

func (p *patroni) killWalproposer() {
	c, err := operator.LoadCluster(filepath.Join(p.clusterDir(), operator.ClusterFile))
	if err == nil && c.PID("walproposer") != 0 {
		_ = syscall.Kill(c.PID("walproposer"), syscall.SIGKILL)
	}
}

// write inserts rows one by one and returns those that were acknowledged.
func (p *patroni) write(n *patroniNode, count int) (acked []int) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*cluster.Deadline)
	defer cancel()
	conn, err := pgconn.Connect(ctx, n.conninfo())
	require.NoError(p.t, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS acked (id int)").ReadAll()
	require.NoError(p.t, err)
	for range count {
		p.next++
		_, err := conn.Exec(ctx, fmt.Sprintf("INSERT INTO acked VALUES (%d)", p.next)).ReadAll()
		require.NoError(p.t, err)
		acked = append(acked, p.next)
	}
	return acked
}
