package postmaster_test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/postmaster"
)

const patience = 60 * time.Second

// askVar makes this program say what PID finds in a directory.
const askVar = "WALHAVEN_TEST_POSTMASTER_ASK"

func answer(dir string) { fmt.Print(postmaster.PID(dir)) }

// askAs lets another user ask for the server of a directory.
func askAs(t *testing.T, who *syscall.Credential, dir string) int {
	t.Helper()
	cmd := exec.Command("/proc/self/exe") // By its path it may be out of the user's reach.
	cmd.Dir = "/"
	cmd.Env = []string{askVar + "=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	out, err := cmd.Output()
	require.NoError(t, err)
	pid, err := strconv.Atoi(string(out))
	require.NoError(t, err, "%s", out)
	return pid
}

// sleeper starts a process that does nothing in a directory, as a server's do.
func sleeper(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	cmd.Dir = dir
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func notePID(t *testing.T, dir string, lines ...any) {
	t.Helper()
	var text strings.Builder
	for _, l := range lines {
		fmt.Fprintln(&text, l)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postmaster.pid"), []byte(text.String()), 0o644))
}

// What a real server notes is read, also through a symbolic link to its directory.
func TestServerNotesItself(t *testing.T) {
	s := computetest.New(t, computetest.Options{})
	link := filepath.Join(computetest.TempDir(t), "link")
	require.NoError(t, os.Symlink(s.DataDir(), link))
	for _, dir := range []string{s.DataDir(), link} {
		f, err := postmaster.Running(dir)
		require.NoError(t, err)
		require.NotNil(t, f)
		require.Equal(t, s.PID(), f.PID)
		require.False(t, f.SingleUser)
		require.Equal(t, "ready", f.Status)
		require.InDelta(t, time.Now().Unix(), f.Started, 3600)
		require.Equal(t, s.PID(), postmaster.PID(dir))
	}
	require.NoError(t, s.Stop(t.Context(), compute.Immediate))
	require.Zero(t, postmaster.PID(link))
}

// A number in postmaster.pid is a server's only where that process works there.
func TestWhoseNumberItIs(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	account, err := compute.RunAs()
	require.NoError(t, err)
	require.NoError(t, account.Own(dir)) // No server's belongs to root.
	inside, outside := sleeper(t, dir).Process.Pid, sleeper(t, elsewhere).Process.Pid
	dead := sleeper(t, dir)
	require.NoError(t, dead.Process.Kill()) // Nobody waits for it yet.
	_, err = postmaster.ReadPIDFile(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Zero(t, postmaster.PID(dir))
	for _, c := range []struct {
		name   string
		line   any
		single bool
		runs   int
	}{
		{name: "a server", line: inside, runs: inside},
		{name: "with blanks", line: fmt.Sprintf(" %d\t", inside), runs: inside},
		{name: "one of a single user", line: -inside, single: true, runs: inside},
		{name: "another program", line: outside},
		{name: "another one, once a single user's", line: -outside},
		{name: "the machine's first process", line: 1},
		{name: "nobody", line: math.MaxInt32},
		{name: "the group of who asks", line: 0},
		{name: "too small", line: math.MinInt32},
		{name: "too large", line: int64(inside) + 1<<32},
		{name: "text", line: "rubbish"},
		{name: "nothing yet", line: ""},
	} {
		notePID(t, dir, c.line)
		f, err := postmaster.Running(dir)
		require.NoError(t, err, c.name)
		require.Equal(t, c.runs != 0, f != nil, c.name)
		if f != nil {
			require.Equal(t, postmaster.PIDFile{PID: c.runs, SingleUser: c.single}, *f, c.name)
		}
		want := c.runs
		if c.single {
			want = 0
		}
		require.Equal(t, want, postmaster.PID(dir), c.name)
	}
	notePID(t, dir, dead.Process.Pid)
	require.Eventually(t, func() bool { return postmaster.PID(dir) == 0 }, patience, time.Millisecond, "it only waits to be reaped")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "postmaster.pid"), make([]byte, 2<<20), 0o600))
	_, err = postmaster.Running(dir)
	require.Error(t, err, "what cannot be read is told")
	require.Zero(t, postmaster.PID(dir))
}

// Who may neither signal a process nor see where it works goes by its owner.
func TestServerOfAnotherUser(t *testing.T) {
	account, err := compute.RunAs()
	require.NoError(t, err)
	if !account.Other {
		t.Skip("only root can ask as another user")
	}
	dir := computetest.TempDir(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chown(dir, 0, 0))
	inside := sleeper(t, dir).Process.Pid
	notePID(t, dir, inside)
	require.Equal(t, inside, askAs(t, account.Credential(), dir))
	require.NoError(t, account.Own(dir))
	require.Zero(t, askAs(t, account.Credential(), dir), "another user's program has the number")
	require.Equal(t, inside, postmaster.PID(dir), "root sees that it works there")
}
