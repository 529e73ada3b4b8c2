package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// attached is a PostgreSQL that somebody else runs, three safekeepers, and the
// folder of the cluster file.
type attached struct {
	t       *testing.T
	pg      *compute.Server
	keepers []*cluster.Keeper
	dir     string
	args    []string // of attach
}

func newAttached(t *testing.T, settings map[string]string) *attached {
	var keepers []*cluster.Keeper
	for id := 1; id <= 3; id++ {
		keepers = append(keepers, cluster.NewKeeper(t, id, ""))
	}
	return newAttachedTo(t, settings, keepers)
}

// newAttachedTo is newAttached with safekeepers of the test's own.
func newAttachedTo(t *testing.T, settings map[string]string, keepers []*cluster.Keeper) *attached {
	a := &attached{t: t, dir: filepath.Join(computetest.TempDir(t), "cluster"), keepers: keepers}
	a.pg = computetest.New(t, computetest.Options{Password: "secret", Settings: settings})
	var addresses []string
	for _, k := range keepers {
		addresses = append(addresses, k.PG)
	}
	port, err := compute.FreePort()
	require.NoError(t, err)
	a.args = []string{
		"attach", "--dir", a.dir, "--postgres", a.pg.Conninfo(), "--safekeepers", strings.Join(addresses, ","),
		"--listen-http", fmt.Sprint("127.0.0.1:", port),
	}
	t.Cleanup(func() {
		if c, err := operator.LoadCluster(filepath.Join(a.dir, operator.ClusterFile)); err == nil {
			if pid := c.PID("walproposer"); pid != 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	return a
}

// load reads the cluster file; an error if it says of no server that it is
// attached.
func (a *attached) load() (*operator.Cluster, error) {
	c, err := operator.LoadCluster(filepath.Join(a.dir, operator.ClusterFile))
	if err == nil && c.Attached == nil {
		err = errors.New("not attached")
	}
	return c, err
}

// attach runs it and wants that it ends well.
func (a *attached) attach(more ...string) string {
	a.t.Helper()
	out, code := cluster.Walhaven(a.t, append(slices.Clone(a.args), more...)...)
	require.Zero(a.t, code, out)
	return out
}

func (a *attached) detach(more ...string) string {
	a.t.Helper()
	out, code := cluster.Walhaven(a.t, append([]string{"detach", "--dir", a.dir}, more...)...)
	require.Zero(a.t, code, out)
	return out
}

func (a *attached) value(sql string) string {
	a.t.Helper()
	v, err := a.pg.QueryValue(context.Background(), sql)
	require.NoError(a.t, err)
	return v
}

// footprint is all that walhaven could leave behind in a server.
func (a *attached) footprint() string {
	a.t.Helper()
	conf, err := os.ReadFile(filepath.Join(a.pg.DataDir(), "postgresql.auto.conf"))
	require.NoError(a.t, err)
	hba, err := os.ReadFile(filepath.Join(a.pg.DataDir(), "pg_hba.conf"))
	require.NoError(a.t, err)
	return strings.Join([]string{
		string(conf), string(hba),
		a.value("SELECT coalesce(string_agg(slot_name, ','), '') FROM pg_replication_slots"),
		a.value("SELECT string_agg(rolname || rolsuper || rolreplication || rolcanlogin, ',' ORDER BY 1) FROM (SELECT * FROM pg_roles ORDER BY rolname) r"),
		a.value("SELECT count(*) FROM pg_auth_members"),
		a.value("SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings WHERE source NOT IN ('default', 'client', 'override')"),
	}, "\n")
}

// load is pgbench, round after round.
type load struct {
	stop   context.CancelFunc
	done   chan struct{}
	rounds int
	err    error
	waits  []time.Duration
}

var transactionLine = regexp.MustCompile(`number of failed transactions: (\d+)`)

// startLoad initialises pgbench's tables and runs it until stopped.
func (a *attached) startLoad() *load {
	a.t.Helper()
	_, err := a.pg.Pgbench(context.Background(), "-i", "-q", "-s", "1")
	require.NoError(a.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{stop: cancel, done: make(chan struct{})}
	a.t.Cleanup(cancel)
	dir := computetest.TempDir(a.t)
	require.NoError(a.t, os.Chmod(dir, 0o777))
	go func() {
		defer close(l.done)
		for ctx.Err() == nil && l.err == nil {
			l.rounds++
			prefix := filepath.Join(dir, fmt.Sprint("round", l.rounds))
			// A round that has begun ends by itself, so that its failures are told.
			out, err := a.pg.Pgbench(context.Background(), "-n", "-c", "4", "-j", "2", "-T", "3", "-l", "--log-prefix", prefix)
			if m := transactionLine.FindStringSubmatch(out); err == nil && m != nil && m[1] != "0" {
				err = fmt.Errorf("%s", m[0])
			}
			if l.err = err; err == nil {
				l.err = l.read(prefix)
			}
		}
	}()
	return l
}

// read takes the latencies from pgbench's logs: the third column, in microseconds.
func (l *load) read(prefix string) error {
	files, err := filepath.Glob(prefix + ".*")
	if err != nil {
		return err
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			us, err := strconv.Atoi(fields[2])
			if err != nil {
				_ = f.Close()
				return fmt.Errorf("%s: %w", file, err)
			}
			l.waits = append(l.waits, time.Duration(us)*time.Microsecond)
		}
		_ = f.Close()
	}
	return nil
}

// end stops the load, wants no failure, and says what was measured.
func (l *load) end(t *testing.T, during string) {
	t.Helper()
	l.stop()
	<-l.done
	require.NoError(t, l.err, "pgbench")
	require.NotEmpty(t, l.waits)
	slices.Sort(l.waits)
	t.Logf("%s: %d transactions, 0 failed, p50 %s, p99 %s, longest %s", during, len(l.waits),
		l.waits[len(l.waits)/2], l.waits[len(l.waits)*99/100], l.waits[len(l.waits)-1])
}

// TestAttachAndDetachUnderLoad takes a running server into walhaven and out
// again while pgbench writes.
func TestAttachAndDetachUnderLoad(t *testing.T) {
	t.Parallel()
	a := newAttached(t, nil)
	// The header of ALTER SYSTEM, so that files compare.
	require.NoError(t, a.pg.Exec(t.Context(), "ALTER SYSTEM SET log_checkpoints = on"))
	require.NoError(t, a.pg.Reload(t.Context()))
	load := a.startLoad()
	before := a.footprint()

	rehearsal := a.attach("--dry-run")
	require.Contains(t, rehearsal, "CREATE ROLE walhaven")
	require.Contains(t, rehearsal, "Nothing was changed.")
	require.Equal(t, before, a.footprint(), "a rehearsal changes nothing")
	require.NoFileExists(t, filepath.Join(a.dir, operator.ClusterFile))

	require.Contains(t, rehearsal, "--postgres-log FILE")
	out := a.attach("--postgres-log", a.pg.LogFile())
	t.Log(out)
	require.Contains(t, out, "Every commit now waits for a majority of the 3 safekeepers.")
	require.NotContains(t, out, "--postgres-log FILE", "it is told where the log is")
	require.Equal(t, "walhaven", a.value("SHOW synchronous_standby_names"))
	require.Equal(t, "sync", a.value("SELECT sync_state FROM pg_stat_replication WHERE application_name = 'walhaven'"))
	status, code := cluster.Walhaven(t, "status", "--dir", a.dir)
	require.Zero(t, code, status)
	require.Contains(t, status, "SAFE since")
	require.NotContains(t, out, "secret")
	require.Contains(t, a.attach(), "Every commit now waits", "attach may be repeated")
	_, code = cluster.Walhaven(t, "down", "--dir", a.dir)
	require.Equal(t, 1, code, "down must not stop somebody else's server")

	out = a.detach("--keep-pushing", "--postgres", a.pg.Conninfo())
	t.Log(out)
	require.Empty(t, a.value("SHOW synchronous_standby_names"))
	cluster.Eventually(t, "the walsender has read that, too", func() bool {
		return a.value("SELECT sync_state FROM pg_stat_replication WHERE application_name = 'walhaven'") == "async"
	})
	require.Contains(t, a.attach(), "Every commit now waits")

	out = a.detach("--postgres", a.pg.Conninfo())
	t.Log(out)
	for _, k := range a.keepers {
		require.Contains(t, out, k.Dir, "it says where WAL is still stored")
	}
	require.Equal(t, before, a.footprint(), "the server is as it was")
	load.end(t, "attach, detach --keep-pushing, attach, detach")
	_, code = cluster.Walhaven(t, "detach", "--dir", a.dir)
	require.Equal(t, 1, code, "there is nothing left to detach")
}

// TestDetachWithoutSafekeepers lets commits return that wait for a quorum which
// is gone for good.
func TestDetachWithoutSafekeepers(t *testing.T) {
	t.Parallel()
	a := newAttached(t, nil)
	before := a.footprint()
	a.attach()
	for _, k := range a.keepers {
		k.Kill()
	}
	waiting := make(chan error, 1)
	go func() { waiting <- a.pg.Exec(context.Background(), "CREATE TABLE waits ()") }()
	cluster.Eventually(t, "a commit waits", func() bool {
		return a.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "1"
	})
	began := time.Now()
	out := a.detach("--postgres", a.pg.Conninfo())
	t.Logf("detach without any safekeeper took %s\n%s", time.Since(began).Round(time.Millisecond), out)
	require.NoError(t, <-waiting)
	// ALTER SYSTEM leaves its header in the file.
	require.Equal(t, strings.TrimSpace(withoutComments(before)), strings.TrimSpace(withoutComments(a.footprint())))
	require.NoError(t, a.pg.Exec(t.Context(), "CREATE TABLE returns ()"))
}

func withoutComments(s string) string {
	return regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(s, "")
}
