package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// world is the whole: machines, what runs on them, and the clients.
type world struct {
	t     *testing.T
	net   network
	rng   *rand.Rand
	dir   string
	clock *clock

	keepers   map[machine]*keeper
	databases map[machine]*database
	// primary is where clients connect to; only the test itself changes it.
	primary atomic.Pointer[database]
	history *history

	faults map[string]int // how often each kind has happened
	sound  bool           // all was checked, and is as it must be
}

// keeper is a safekeeper.
type keeper struct {
	process
	disk string // of its own; empty: none could be mounted
	pg   string // port
	http string // host:port, for the test
}

// newWorld starts three safekeepers, a PostgreSQL that is attached to them, and a
// standby of theirs.
func newWorld(t *testing.T, n network, seed uint64) *world {
	w := &world{
		t: t, net: n, rng: rand.New(rand.NewPCG(seed, 0)), dir: computetest.TempDir(t),
		keepers: map[machine]*keeper{}, databases: map[machine]*database{}, faults: map[string]int{},
	}
	w.clock = newClock(t, w.dir)
	t.Cleanup(w.destroy)
	for m := safekeeper1; m <= safekeeper3; m++ {
		w.addKeeper(m)
	}
	first := w.initDatabase(postgres1)
	w.attach(first)
	w.primary.Store(first)
	second := &database{world: w, m: postgres2, dir: filepath.Join(w.dir, postgres2.String())}
	require.NoError(t, os.Mkdir(second.dir, 0o755))
	w.databases[postgres2] = second
	second.port, second.http = w.port(postgres2), w.port(postgres2)
	second.rebuild(first)
	return w
}

// port returns a free port that others reach on m.
func (w *world) port(m machine) string {
	port, err := compute.FreePort()
	require.NoError(w.t, err)
	require.NoError(w.t, w.net.expose(m, port))
	return strconv.Itoa(port)
}

// diskSize is that of a safekeeper's disk: enough for what it has to keep.
const diskSize = "size=512m,mode=0700"

func (w *world) addKeeper(m machine) {
	dir := filepath.Join(w.dir, m.String())
	require.NoError(w.t, os.Mkdir(dir, 0o755))
	k := &keeper{disk: dir, pg: w.port(m)}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, diskSize); err != nil {
		w.t.Logf("%s has no disk of its own (%v): instead of a full one its fsyncs fail", m, err)
		k.disk = ""
	} else {
		w.t.Cleanup(func() { require.NoError(w.t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	}
	w.keepers[m] = k
	port, err := compute.FreePort()
	require.NoError(w.t, err)
	k.http = net.JoinHostPort(w.net.local(m), strconv.Itoa(port))
	k.process = process{
		m: m, path: filepath.Join(cluster.Programs(w.t), "safekeeper"), log: filepath.Join(w.dir, m.String()+".log"),
		clock: w.clock.file(m),
		args: []string{
			"--id", strconv.Itoa(int(m)), "--data-dir", filepath.Join(dir, "data"),
			"--listen-pg", net.JoinHostPort(w.net.local(m), k.pg), "--listen-http", k.http, "--insecure-trust-network",
			// Little is kept, so that a long run fits; a full disk cannot make room by itself.
			"--wal-keep-size", "96MiB", "--min-free-disk", "16MiB",
		},
	}
	require.NoError(w.t, k.start(w.net))
	w.eventually(m.String()+" answers", func() bool {
		code, _ := cluster.Get(w.t, "http://"+k.http+"/livez")
		return code == 200
	})
}

// safekeepers are the addresses of all as m has them.
func (w *world) safekeepers(m machine) []string {
	var all []string
	for to := safekeeper1; to <= safekeeper3; to++ {
		all = append(all, net.JoinHostPort(w.net.address(m, to), w.keepers[to].pg))
	}
	return all
}

// attach makes the first server's commits wait for the quorum.
func (w *world) attach(db *database) {
	out, code := w.walhaven(db.m, "attach", "--dir", db.clusterDir(), "--postgres", db.conninfo(db.m),
		"--safekeepers", strings.Join(w.safekeepers(db.m), ","), "--listen-http", db.httpAddress())
	require.Zero(w.t, code, out)
	require.NoError(w.t, db.server.Exec(context.Background(),
		"CREATE TABLE acked (id bigint); CREATE TABLE registers (register int PRIMARY KEY, value bigint); INSERT INTO registers SELECT i, 0 FROM generate_series(0, "+strconv.Itoa(registersMade-1)+") i"))
}

// walhaven runs the operator's tool on a machine.
func (w *world) walhaven(m machine, args ...string) (out string, code int) {
	w.t.Helper()
	defer w.clock.preload(m)()
	require.NoError(w.t, w.net.on(m, func() { out, code = cluster.Walhaven(w.t, args...) }))
	return out, code
}

func (w *world) eventually(what string, cond func() bool) {
	w.t.Helper()
	cluster.Eventually(w.t, what, cond)
}

// destroy ends whatever runs.
func (w *world) destroy() {
	for _, db := range w.databases {
		db.kill()
		if w.t.Failed() {
			w.t.Logf("%s, walproposer:\n%s\nPostgreSQL:\n%s", db.m, tailOf(filepath.Join(db.clusterDir(), "log", "walproposer.log")), tailOf(filepath.Join(db.dir, "pgdata.log")))
		}
	}
	for _, k := range w.keepers {
		k.signal(syscall.SIGCONT)
		k.kill()
		if w.t.Failed() {
			w.t.Logf("%s:\n%s", k.m, tailOf(k.log))
		}
	}
}

// tailOf is the end of a file.
func tailOf(path string) string {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// standby is the database that is not the primary.
func (w *world) standby() *database {
	for _, db := range w.databases {
		if db != w.primary.Load() {
			return db
		}
	}
	panic("there is no standby")
}

// heal makes the network whole.
func (w *world) heal() { require.NoError(w.t, w.net.heal()) }

// cut loses what goes over links.
func (w *world) cut(links ...link) {
	for _, l := range links {
		require.NoError(w.t, w.net.cut(l))
	}
}

// isolate cuts a machine off from all others.
func (w *world) isolate(m machine) { w.split(m) }

// split cuts some machines off from all others.
func (w *world) split(some ...machine) {
	apart := map[machine]bool{}
	for _, m := range some {
		apart[m] = true
	}
	for _, m := range some {
		for other := safekeeper1; other < endOfMachines; other++ {
			if !apart[other] {
				w.cut(link{m, other}, link{other, m})
			}
		}
	}
}

// loadCluster reads the cluster file of a database.
func (db *database) loadCluster() *operator.Cluster {
	c, err := operator.LoadCluster(filepath.Join(db.clusterDir(), operator.ClusterFile))
	require.NoError(db.world.t, err, fmt.Sprint(db.m))
	return c
}
