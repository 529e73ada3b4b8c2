package operator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
)

func nodeName(kind string, id int) string { return kind + "-" + strconv.Itoa(id) }

func (c *Cluster) runDir() string { return filepath.Join(c.dir, "run") }
func (c *Cluster) logDir() string { return filepath.Join(c.dir, "log") }

func (c *Cluster) pidFile(name string) string { return filepath.Join(c.runDir(), name+".pid") }

// LogFile is where the daemon of that name writes its log.
func (c *Cluster) LogFile(name string) string { return filepath.Join(c.logDir(), name+".log") }

// PID returns the process ID of a running daemon, 0 when it does not run. The
// PID file names the start time too, so that a reused PID is not taken for it.
func (c *Cluster) PID(name string) int {
	data, err := os.ReadFile(c.pidFile(name))
	if err != nil {
		return 0
	}
	pidText, started, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	pid, err := strconv.Atoi(pidText)
	if err != nil || pid <= 1 {
		return 0
	}
	if now, ok := startTicks(pid); !ok || now != started {
		return 0
	}
	return pid
}

// startTicks is when a process began, in clock ticks since boot (field 22 of
// /proc/PID/stat); ok is false for one that is gone or only waits to be reaped. A
// zombie with threads left is still ending and holds its ports and locks.
func startTicks(pid int) (ticks string, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	// The second field, the command name, may hold blanks and parentheses.
	at := strings.LastIndexByte(string(data), ')')
	if at < 0 {
		return "", false
	}
	fields := strings.Fields(string(data[at+1:]))
	if len(fields) < 20 {
		return "", false
	}
	if fields[0] == "Z" {
		if threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)); err != nil || len(threads) < 2 {
			return "", false
		}
	}
	return fields[19], true
}

// ProcessRuns says whether a process of that ID runs; one that only waits to be
// reaped does not.
func ProcessRuns(pid int) bool {
	_, ok := startTicks(pid)
	return ok
}

// start runs the daemon, in a session of its own so that it outlives us, unless
// it runs already.
func (l *local) start(p daemon) error {
	if pid := l.PID(p.name); pid != 0 {
		l.say("%s runs already (PID %d)", p.name, pid)
		return nil
	}
	log, err := os.OpenFile(l.LogFile(p.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", p.name, err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Dir = l.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	l.say("+ %s", shellLine(p.args))
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	l.children.Go(func() { _ = cmd.Wait() }) // reaped, so that it does not linger as a zombie
	invariant.Point("operator/start/after")
	ticks, _ := startTicks(cmd.Process.Pid)
	return writeFileAtomic(l.pidFile(p.name), fmt.Appendf(nil, "%d %s\n", cmd.Process.Pid, ticks), 0o644)
}

// stop ends the daemon with SIGTERM and waits for it; after the deadline of ctx
// it is killed, and the error says so.
func (c *Cluster) stop(ctx context.Context, name string) error {
	pid := c.PID(name)
	if pid != 0 {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop %s: %w", name, err)
		}
		if err := c.awaitExit(ctx, name); err != nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			return fmt.Errorf("stop %s: it did not end and was killed; its log is %s: %w", name, c.LogFile(name), err)
		}
	}
	if err := os.Remove(c.pidFile(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	return nil
}

// awaitExit polls, since a process that is not our child cannot be waited for.
func (c *Cluster) awaitExit(ctx context.Context, name string) error {
	return poll(ctx, 20*time.Millisecond, func() (bool, error) { return c.PID(name) == 0, nil })
}

// poll calls done until it says true, fails, or ctx ends.
func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// postmasterPID is the PID in a data directory's postmaster.pid, 0 when no
// such process runs.
func postmasterPID(dataDir string) int {
	data, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(data), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		return 0
	}
	if _, ok := startTicks(pid); !ok {
		return 0
	}
	return pid
}

// removeIfThere deletes a file that may be gone already.
func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove file: %w", err)
	}
	return nil
}
