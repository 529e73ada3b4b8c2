package chaos

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// database is a PostgreSQL, a primary or a standby, and as a primary the
// walproposer beside it.
type database struct {
	world      *world
	m          machine
	dir        string
	port, http string
	server     *compute.Server // written with mu held by the test itself, whose own reads need none

	mu    sync.Mutex
	conns map[*pgconn.PgConn]bool // of clients
}

func (db *database) clusterDir() string { return filepath.Join(db.dir, "cluster") }
func (db *database) httpAddress() string {
	return net.JoinHostPort(db.world.net.loopback(db.m), db.http)
}

// conninfo is how a superuser on a machine reaches it.
func (db *database) conninfo(from machine) string {
	return "host=" + db.world.net.address(from, db.m) + " port=" + db.port + " user=postgres dbname=postgres"
}

// settings are those of both servers.
func (db *database) settings() map[string]string {
	return map[string]string{
		"listen_addresses": db.world.net.local(db.m), "port": db.port, "hot_standby": "on",
		"shared_buffers": "16MB", "max_connections": "40", "autovacuum": "off", "max_slot_wal_keep_size": "4GB",
		// A standby looks for another safekeeper when one is silent for so long.
		"wal_receiver_timeout": "3s", "wal_receiver_status_interval": "1s",
	}
}

// initDatabase makes and starts the first server.
func (w *world) initDatabase(m machine) *database {
	db := &database{world: w, m: m, dir: filepath.Join(w.dir, m.String()), port: w.port(m), http: w.port(m)}
	require.NoError(w.t, os.Mkdir(db.dir, 0o755))
	w.databases[m] = db
	port, err := strconv.Atoi(db.port)
	require.NoError(w.t, err)
	db.server, err = compute.Init(context.Background(), compute.InitOptions{
		Install: computetest.Find(w.t, 0), DataDir: filepath.Join(db.dir, "pgdata"), Port: port, Settings: db.settings(), NoSync: true,
	})
	require.NoError(w.t, err)
	// The network is the test's own, or loopback.
	hba := "local all all trust\nlocal replication all trust\nhost all all samenet trust\nhost replication all samenet trust\n" +
		"host all all 10.77.0.0/16 trust\nhost replication all 10.77.0.0/16 trust\nhost all all 127.0.0.0/8 trust\nhost replication all 127.0.0.0/8 trust\n"
	require.NoError(w.t, db.server.WriteFile("pg_hba.conf", []byte(hba)))
	db.startServer()
	return db
}

// startServer starts PostgreSQL.
func (db *database) startServer() {
	t := db.world.t
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Deadline)
	defer cancel()
	defer db.world.clock.preload(db.m)()
	var err error
	on := db.world.net.on(db.m, func() { err = db.server.Start(ctx, compute.StartOptions{Detach: true}) })
	require.NoError(t, on)
	require.NoError(t, err)
}

// startWalproposer starts the walproposer as it was started last, unless it runs.
func (db *database) startWalproposer() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // Started, and not waited for.
	defer db.world.clock.preload(db.m)()
	var err error
	on := db.world.net.on(db.m, func() {
		err = operator.StartDaemon(ctx, db.clusterDir(), "walproposer", operator.DaemonOptions{Programs: cluster.Programs(db.world.t), Out: quiet{}})
	})
	require.NoError(db.world.t, on)
	require.ErrorIs(db.world.t, err, context.Canceled)
}

// quiet takes what the operator's functions say.
type quiet struct{}

func (quiet) Write(p []byte) (int, error) { return len(p), nil }

// walproposers are all its processes; none where there is no walproposer.
func (db *database) walproposers() []int {
	c, err := operator.LoadCluster(filepath.Join(db.clusterDir(), operator.ClusterFile))
	if err != nil {
		return nil
	}
	return family(c.PID("walproposer"))
}

// processes are those of PostgreSQL and walproposer.
func (db *database) processes() []int {
	if db.server == nil {
		return nil
	}
	return append(family(db.server.PID()), db.walproposers()...)
}

// kill ends everything as the loss of the machine would.
func (db *database) kill() {
	all := db.processes()
	signalAll(all, syscall.SIGSTOP) // Nobody forks or reacts meanwhile.
	all = append(all, db.processes()...)
	signalAll(all, syscall.SIGKILL)
	if db.server != nil {
		_ = db.server.Kill()
	}
	db.world.eventually(db.m.String()+" is dead", func() bool { return !anyRuns(all) })
}

func anyRuns(pids []int) bool {
	for _, pid := range pids {
		if operator.ProcessRuns(pid) {
			return true
		}
	}
	return false
}

// check asks `walproposer check` how the stopped server may be started. With
// writeStandby it makes a standby of one that has to be.
func (db *database) check(writeStandby bool) (out string, code int) {
	w := db.world
	c := w.primary.Load().loadCluster()
	args := []string{
		"check", "--pgdata", db.server.DataDir(), "--safekeepers", strings.Join(w.safekeepers(db.m), ","),
		"--tenant-id", c.Tenant.String(), "--timeline", c.Timeline.String(), "--takeover",
	}
	if writeStandby {
		args = append(args, "--write-standby")
	}
	require.NoError(w.t, w.net.on(db.m, func() { out, code = cluster.Run(w.t, "", "walproposer", args...) }))
	return out, code
}

// rejoin makes a killed old primary a standby: of its own data where they may
// follow, else anew from the primary.
func (db *database) rejoin(primary *database) (rebuilt bool) {
	out, code := db.check(true)
	require.NotContains(db.world.t, out, "primary:", "an old primary")
	if code != 0 {
		db.rebuild(primary)
		return true
	}
	db.startServer()
	return false
}

// rebuild makes a standby from a base backup of the primary and starts it.
func (db *database) rebuild(primary *database) {
	t, ctx := db.world.t, context.Background()
	if db.server != nil {
		require.NoError(t, db.server.Remove())
	}
	dir := filepath.Join(db.dir, "pgdata")
	require.NoError(t, primary.server.BaseBackup(ctx, dir, "-X", "fetch"))
	c := primary.loadCluster()
	conninfo, err := walproposer.StandbyConninfo(db.world.safekeepers(db.m), c.User, "", wal.TTID{Tenant: c.Tenant, Timeline: c.Timeline})
	require.NoError(t, err)
	server, err := compute.Open(compute.OpenOptions{Install: primary.server.Install(), DataDir: dir, NewPort: true, Settings: db.settings()})
	require.NoError(t, err)
	db.mu.Lock()
	db.server = server
	db.mu.Unlock()
	auto, err := os.ReadFile(filepath.Join(dir, "postgresql.auto.conf"))
	require.NoError(t, err)
	line := "primary_conninfo = '" + strings.ReplaceAll(conninfo, "'", "''") + "'\n"
	require.NoError(t, db.server.WriteFile("postgresql.auto.conf", append(bytes.TrimRight(auto, "\n"), "\n"+line...)))
	require.NoError(t, db.server.WriteFile("standby.signal", nil))
	db.startServer()
}

// takeClusterFile brings the cluster file and the walproposer's password from the
// machine of another database, as an operator does.
func (db *database) takeClusterFile(from *database) {
	t, net := db.world.t, db.world.net
	require.NoError(t, os.MkdirAll(filepath.Join(db.clusterDir(), "run"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(db.clusterDir(), "log"), 0o755))
	for _, name := range []string{operator.ClusterFile, "walproposer.pgpass"} {
		text, err := os.ReadFile(filepath.Join(from.clusterDir(), name))
		require.NoError(t, err)
		for to := safekeeper1; to < endOfMachines; to++ {
			text = bytes.ReplaceAll(text, []byte(net.address(from.m, to)), []byte(net.address(db.m, to)))
		}
		require.NoError(t, os.WriteFile(filepath.Join(db.clusterDir(), name), text, 0o600))
	}
}

// connect opens a client's connection, over the Unix socket: how clients reach the
// server is not what is tested.
func (db *database) connect(ctx context.Context) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	db.mu.Lock()
	server := db.server
	db.mu.Unlock()
	conn, err := server.Connect(ctx, "postgres")
	if err != nil {
		return nil, err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.conns == nil {
		db.conns = map[*pgconn.PgConn]bool{}
	}
	db.conns[conn] = true
	return conn, nil
}

func (db *database) forget(conn *pgconn.PgConn) {
	db.mu.Lock()
	delete(db.conns, conn)
	db.mu.Unlock()
	_ = conn.Conn().Close()
}

// leave breaks the connections of every second client, which then turn to the new
// primary. The others stay: they must not be told of commits that it will not have.
func (db *database) leave() {
	db.mu.Lock()
	defer db.mu.Unlock()
	every := 0
	for conn := range db.conns {
		if every++; every%2 == 0 {
			_ = conn.Conn().Close()
		}
	}
}
