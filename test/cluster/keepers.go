package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
)

// Keeper is a safekeeper process of its own, for tests that run their own
// PostgreSQL. It trusts loopback.
type Keeper struct {
	ID       int
	PG, HTTP string
	Dir      string
	t        testing.TB
	args     []string
	cmd      *exec.Cmd
	ended    chan struct{}
	log      string
}

// NewKeeper starts safekeeper id with its data in dir, or in a folder of its own
// when dir is empty, and with further flags.
func NewKeeper(t testing.TB, id int, dir string, flags ...string) *Keeper {
	t.Helper()
	own := computetest.TempDir(t)
	if dir == "" {
		dir = filepath.Join(own, "data")
	}
	k := &Keeper{ID: id, PG: freeAddress(t), HTTP: freeAddress(t), Dir: dir, t: t, log: filepath.Join(own, "log")}
	k.args = append([]string{"--id", strconv.Itoa(id), "--data-dir", dir, "--listen-pg", k.PG, "--listen-http", k.HTTP}, flags...)
	k.Start()
	t.Cleanup(func() {
		k.Kill()
		if t.Failed() {
			t.Logf("safekeeper %d:\n%s", id, lastOf(k.Log()))
		}
	})
	return k
}

func freeAddress(t testing.TB) string {
	port, err := compute.FreePort()
	require.NoError(t, err)
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

func lastOf(log string) string { return log[max(0, len(log)-4000):] }

// Start starts it and waits until it answers.
func (k *Keeper) Start() {
	k.t.Helper()
	log, err := os.OpenFile(k.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(k.t, err)
	defer func() { _ = log.Close() }()
	k.cmd = exec.Command(filepath.Join(Programs(k.t), "safekeeper"), k.args...)
	k.cmd.Stdout, k.cmd.Stderr = log, log
	require.NoError(k.t, k.cmd.Start())
	ended := make(chan struct{})
	k.ended = ended
	go func(cmd *exec.Cmd) { defer close(ended); _ = cmd.Wait() }(k.cmd)
	Eventually(k.t, fmt.Sprintf("safekeeper %d answers", k.ID), func() bool {
		code, _ := k.Get("/livez")
		return code == http.StatusOK
	})
}

// Kill ends it as the loss of its machine would; a second call does nothing.
func (k *Keeper) Kill() {
	if k.cmd == nil {
		return
	}
	_ = k.cmd.Process.Signal(syscall.SIGCONT)
	_ = k.cmd.Process.Kill()
	<-k.ended
	k.cmd = nil
}

// PID of the process.
func (k *Keeper) PID() int { return k.cmd.Process.Pid }

// Log is what it has logged so far, in all its lives.
func (k *Keeper) Log() string {
	text, err := os.ReadFile(k.log)
	require.NoError(k.t, err)
	return string(text)
}

// Get asks a page over HTTP; code 0 says that there was no answer.
func (k *Keeper) Get(path string) (code int, body string) {
	return Get(k.t, "http://"+k.HTTP+path)
}

// Get asks a page over HTTP; code 0 says that there was no answer.
func Get(t testing.TB, url string) (code int, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	text := make([]byte, 1<<20)
	n := 0
	for n < len(text) {
		m, err := resp.Body.Read(text[n:])
		n += m
		if err != nil {
			break
		}
	}
	return resp.StatusCode, string(text[:n])
}

// Eventually polls cond until it holds; what names it in the failure.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, Deadline, 20*time.Millisecond, what)
}

// Walhaven runs the operator's tool and returns its output and exit code, -1 if
// a signal ended it.
func Walhaven(t testing.TB, args ...string) (string, int) {
	t.Helper()
	return WalhavenAt(t, "", args...)
}

// WalhavenAt is Walhaven with fail points, as WALHAVEN_FAILPOINTS names them.
func WalhavenAt(t testing.TB, failpoints string, args ...string) (string, int) {
	t.Helper()
	return Run(t, failpoints, "walhaven", args...)
}

// Run is WalhavenAt for any of walhaven's programs.
func Run(t testing.TB, failpoints, program string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*Deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(Programs(t), program), args...)
	cmd.Env = append(os.Environ(), "WALHAVEN_FAILPOINTS="+failpoints)
	// A file and not a pipe: a daemon that outlives the tool must not hold us up.
	log, err := os.CreateTemp(t.TempDir(), "out")
	require.NoError(t, err)
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	out, err := os.ReadFile(log.Name())
	require.NoError(t, err)
	return string(out), cmd.ProcessState.ExitCode()
}
