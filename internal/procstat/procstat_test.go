package procstat

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	p, err := parseStat([]byte("42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 99 1 2"))
	require.NoError(t, err)
	require.Equal(t, Process{Parent: 7, CPU: 1240 * time.Millisecond, Started: 99}, p)
	p, err = parseStat([]byte("42 (a) Z 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 2 0 99 1 2"))
	require.NoError(t, err)
	require.False(t, p.Ended, "its first thread has, another still ends")
	_, err = parseStat([]byte("42 (a) S 7"))
	require.Error(t, err)
	_, err = parseStat(nil)
	require.Error(t, err)
}

func TestWhoRuns(t *testing.T) {
	child := exec.Command("cat")
	_, err := child.StdinPipe() // It ends with this program, whatever happens to that.
	require.NoError(t, err)
	require.NoError(t, child.Start())
	pid := child.Process.Pid
	require.True(t, Runs(pid))
	p, err := Find(pid)
	require.NoError(t, err)
	require.NotZero(t, p.Started)
	children, err := Children(os.Getpid())
	require.NoError(t, err)
	require.Contains(t, children, pid)

	require.NoError(t, child.Process.Kill())
	require.Eventually(t, func() bool { return !Runs(pid) }, time.Minute, time.Millisecond, "it waits to be reaped")
	again, err := Find(pid)
	require.NoError(t, err)
	require.True(t, again.Ended)
	require.Equal(t, p.Started, again.Started)
	require.Error(t, child.Wait())
	_, err = Find(pid)
	require.Error(t, err)
}

func TestOwnProcessIsFound(t *testing.T) {
	all, err := All()
	require.NoError(t, err)
	me, ok := all[os.Getpid()]
	require.True(t, ok)
	require.Equal(t, os.Getppid(), me.Parent)
	require.Contains(t, me.Title, "procstat.test")
	peak, err := PeakMemory(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, peak, int64(1<<20))
	cpu, err := CPU(os.Getpid())
	require.NoError(t, err)
	require.GreaterOrEqual(t, cpu, me.CPU)
	_, err = Switches(os.Getpid())
	require.NoError(t, err)
}

// TestEndsOnce looks at processes with many threads while they are killed: who has ended
// once does not run again, or somebody is started beside what still holds its ports.
func TestEndsOnce(t *testing.T) {
	const threads = 40
	if os.Getenv("PROCSTAT_THREADS") != "" {
		for range threads {
			go func() {
				runtime.LockOSThread()
				_, _ = syscall.Read(0, make([]byte, 1)) // a thread each, until the pipe ends
			}()
		}
		_, _ = syscall.Read(0, make([]byte, 1))
		return
	}
	for range 40 {
		child := exec.Command(os.Args[0], "-test.run=^TestEndsOnce$")
		child.Env = append(os.Environ(), "PROCSTAT_THREADS=1")
		_, err := child.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		pid := child.Process.Pid
		require.Eventually(t, func() bool {
			tasks, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
			return err == nil && len(tasks) > threads
		}, time.Minute, time.Millisecond)
		require.NoError(t, child.Process.Kill())
		for Runs(pid) {
		}
		for range 1000 {
			require.False(t, Runs(pid), "it has ended, and runs")
		}
		require.Error(t, child.Wait())
	}
}
