package computetest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/walhaven/walhaven/compute/computetest"
)

// endVariable makes this program the one that ends in some way.
const endVariable = "WALHAVEN_TEST_END"

func TestMain(m *testing.M) {
	computetest.Watch()
	goleak.VerifyTestMain(m)
}

// TestToEnd is no test of its own: it leaves a server and another process running.
func TestToEnd(t *testing.T) {
	end := os.Getenv(endVariable)
	if end == "" {
		t.Skip("run by TestWatchLeavesNothingBehind")
	}
	server := computetest.New(t, computetest.Options{})
	stray := exec.Command("sh", "-c", "trap '' TERM HUP INT; sleep 1000 & wait")
	stray.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	require.NoError(t, stray.Start())
	fmt.Println("pids", server.PID(), stray.Process.Pid)
	switch end {
	case "panic":
		panic("as go test's deadline does")
	case "kill":
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	case "kill who watches":
		require.NoError(t, syscall.Kill(os.Getppid(), syscall.SIGKILL))
	case "pass":
		return
	}
	select {} // until the signal
}

func TestWatchLeavesNothingBehind(t *testing.T) {
	for end, sig := range map[string]syscall.Signal{
		"interrupt": syscall.SIGINT, "terminate": syscall.SIGTERM, "kill from outside": syscall.SIGKILL,
		"panic": 0, "kill": 0, "kill who watches": 0, "pass": 0,
	} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			dir := computetest.TempDir(t)
			c := exec.Command(os.Args[0], "-test.run=^TestToEnd$")
			c.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WALHAVEN_TEST_WATCHED=") }),
				endVariable+"="+end, "TMPDIR="+dir)
			out, err := c.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, c.Start())
			t.Cleanup(func() { _ = c.Process.Kill() })
			var postgres, stray int
			lines := bufio.NewScanner(out)
			for stray == 0 && lines.Scan() {
				_, _ = fmt.Sscanf(lines.Text(), "pids %d %d", &postgres, &stray)
			}
			require.NotZero(t, stray)
			if sig != 0 {
				require.NoError(t, c.Process.Signal(sig))
			}
			for lines.Scan() { //nolint:revive // What else it says.
			}
			err = c.Wait()
			require.Equal(t, end == "pass", err == nil, "%v", err)
			for _, pid := range []int{postgres, stray} {
				require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "process %d", pid)
			}
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}
