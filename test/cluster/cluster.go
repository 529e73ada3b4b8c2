package cluster

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/operator"
)

// Deadline bounds each wait of these tests. It is a limit against hanging, not
// an expectation.
const Deadline = 90 * time.Second

// Programs builds walhaven's programs once and returns their folder.
func Programs(t testing.TB) string {
	t.Helper()
	dir, err := programs()
	require.NoError(t, err)
	return dir
}

// ProgramsVariable names, in the environment, the folder of programs that another
// process of the same test has built.
const ProgramsVariable = "WALHAVEN_TEST_PROGRAMS"

var programs = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv(ProgramsVariable); dir != "" {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "walhaven-programs-")
	if err != nil {
		return "", err
	}
	builtPrograms.Store(&dir)
	// PostgreSQL's account runs `walhaven wal get` from here.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-tags", "invariants", "-o", dir+"/", "github.com/walhaven/walhaven/cmd/...")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build programs: %w\n%s", err, out)
	}
	return dir, nil
})

// BuildPrograms is Programs for TestMain.
func BuildPrograms() (dir string, err error) { return programs() }

// builtPrograms is the folder that programs has made, if it ran.
var builtPrograms atomic.Pointer[string]

// RemovePrograms deletes what Programs has built, if anything; for TestMain.
func RemovePrograms() {
	if dir := builtPrograms.Load(); dir != nil {
		_ = os.RemoveAll(*dir)
	}
}

// Options of a test's cluster.
type Options struct {
	Major       int           // of PostgreSQL; 0: the one in PG, else any
	Bench       time.Duration // as `walhaven up --bench`
	Safekeepers int           // 0: three
	InProcess   bool          // the walproposer as one process, as WALHAVEN_TEST_IN_PROCESS=true has it everywhere
	NoEarlyPush bool          // as `walhaven up --no-early-push`; WALHAVEN_TEST_EARLY_PUSH=false has it everywhere, true nowhere
	Disposable  bool          // as `walhaven up --disposable-compute`
}

// Cluster is a running walhaven.
type Cluster struct {
	*operator.Cluster
	t        testing.TB
	programs string
	Server   *compute.Server
	writers  int // started so far: their rows are told apart by it
}

// New starts a cluster that ends, and is deleted, with the test.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Safekeepers == 0 {
		o.Safekeepers = 3
	}
	if v, err := strconv.ParseBool(os.Getenv("WALHAVEN_TEST_IN_PROCESS")); err == nil && v {
		o.InProcess = true
	}
	if v, err := strconv.ParseBool(os.Getenv("WALHAVEN_TEST_EARLY_PUSH")); err == nil {
		o.NoEarlyPush = !v
	}
	env, err := compute.WantFromEnv()
	require.NoError(t, err)
	c := &Cluster{t: t, programs: Programs(t)}
	dir := filepath.Join(computetest.TempDir(t), "cluster")
	t.Cleanup(func() { c.destroy(dir) })
	ctx, cancel := context.WithTimeout(context.Background(), 2*Deadline)
	defer cancel()
	c.Cluster, err = operator.Up(ctx, operator.UpOptions{
		Dir: dir, Major: cmp.Or(o.Major, env.Major), Safekeepers: o.Safekeepers, Bench: o.Bench, InProcess: o.InProcess,
		EarlyPush: !o.NoEarlyPush, Disposable: o.Disposable, Programs: c.programs, Out: logWriter{t}, Download: true,
	})
	require.NoError(t, err)
	c.Server = c.openServer(c.Postgres.DataDir)
	return c
}

func (c *Cluster) openServer(dataDir string) *compute.Server {
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	install, err := compute.Find(ctx, compute.Want{BinDir: c.Postgres.BinDir})
	require.NoError(c.t, err)
	server, err := compute.Open(compute.OpenOptions{Install: install, DataDir: dataDir, Password: c.password()})
	require.NoError(c.t, err)
	return server
}

func (c *Cluster) password() string {
	text, err := os.ReadFile(c.PasswordFile)
	require.NoError(c.t, err)
	return strings.TrimSpace(string(text))
}

// destroy ends everything, whatever state the test left it in.
func (c *Cluster) destroy(dir string) {
	loaded, err := operator.LoadCluster(filepath.Join(dir, operator.ClusterFile))
	if err != nil {
		return // it never came to be
	}
	if c.t.Failed() {
		c.printLogs(loaded)
	}
	for _, name := range loaded.Daemons() {
		if pid := loaded.PID(name); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGCONT)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if c.Server != nil && c.Server.PID() != 0 {
		_ = c.Server.Kill()
	}
}

func (c *Cluster) printLogs(loaded *operator.Cluster) {
	for _, name := range loaded.Daemons() {
		text, err := os.ReadFile(loaded.LogFile(name))
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		c.t.Logf("%s:\n%s", name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
}

// Kill ends a daemon as the loss of its machine would, and waits until it is
// gone.
func (c *Cluster) Kill(name string) {
	c.t.Helper()
	pid := c.PID(name)
	require.NotZero(c.t, pid, "%s does not run", name)
	require.NoError(c.t, syscall.Kill(pid, syscall.SIGKILL))
	c.Eventually(name+" is gone", func() bool { return c.PID(name) == 0 })
}

// Signal sends a signal to a daemon.
func (c *Cluster) Signal(name string, sig syscall.Signal) {
	c.t.Helper()
	pid := c.PID(name)
	require.NotZero(c.t, pid, "%s does not run", name)
	require.NoError(c.t, syscall.Kill(pid, sig))
}

// Start starts a daemon that is down, with env (NAME=VALUE) in its environment,
// and waits until it is ready.
func (c *Cluster) Start(name string, env ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	require.NoError(c.t, c.startDaemon(ctx, name, env))
}

// StartUnready starts a daemon that is down and need not become ready.
func (c *Cluster) StartUnready(name string, env ...string) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // started, and not waited for
	require.ErrorIs(c.t, c.startDaemon(ctx, name, env), context.Canceled)
}

func (c *Cluster) startDaemon(ctx context.Context, name string, env []string) error {
	return operator.StartDaemon(ctx, c.Dir(), name, operator.DaemonOptions{Programs: c.programs, Env: env, Out: logWriter{c.t}})
}

// Walhaven runs the operator's tool and returns its output and exit code.
func (c *Cluster) Walhaven(args ...string) (string, int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.programs, "walhaven"), append([]string{"--cluster", c.Dir()}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		require.NoError(c.t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// Eventually polls cond until it holds; what names it in the failure.
func (c *Cluster) Eventually(what string, cond func() bool) {
	c.t.Helper()
	require.Eventually(c.t, cond, Deadline, 20*time.Millisecond, what)
}

// Restore makes a server from the base backup that `up` took and the WAL that
// the safekeepers give back, and returns it when recovery has ended.
func (c *Cluster) Restore() *compute.Server {
	c.t.Helper()
	dir := filepath.Join(computetest.TempDir(c.t), "restored")
	cp := exec.Command("cp", "-a", filepath.Join(c.Dir(), "base"), dir)
	out, err := cp.CombinedOutput()
	require.NoError(c.t, err, "%s", out)
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	install, err := compute.Find(ctx, compute.Want{BinDir: c.Postgres.BinDir})
	require.NoError(c.t, err)
	server, err := compute.Open(compute.OpenOptions{
		Install: install, DataDir: dir, Password: c.password(), NewPort: true,
		Settings: map[string]string{
			"restore_command":           fmt.Sprintf("%s --cluster %s wal get %%f %%p", filepath.Join(c.programs, "walhaven"), c.Dir()),
			"synchronous_standby_names": "",
			"recovery_target_timeline":  "latest",
		},
	})
	require.NoError(c.t, err)
	require.NoError(c.t, server.WriteFile("recovery.signal", nil))
	require.NoError(c.t, server.Start(ctx, compute.StartOptions{}))
	c.t.Cleanup(func() { _ = server.Kill() })
	c.Eventually("recovery ends", func() bool {
		v, err := server.QueryValue(ctx, "SELECT pg_is_in_recovery()")
		return err == nil && v == "f"
	})
	return server
}

// logWriter sends what the operator says to the test's log.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
