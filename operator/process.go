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

	"github.com/walhaven/walhaven/internal/durablefile"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/internal/procstat"
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
	if p, err := procstat.Find(pid); err != nil || p.Ended || strconv.FormatUint(p.Started, 10) != started {
		return 0
	}
	return pid
}

// ProcessRuns says whether a process of that ID runs; one that only waits to be
// reaped does not.
func ProcessRuns(pid int) bool { return procstat.Runs(pid) }

// notePID writes the PID file of a daemon that runs.
func (c *Cluster) notePID(name string, pid int) error {
	p, _ := procstat.Find(pid) // One that has ended already never counts.
	return durablefile.Replace(c.pidFile(name), fmt.Appendf(nil, "%d %d\n", pid, p.Started), 0o644)
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
	return l.notePID(p.name, cmd.Process.Pid)
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

// removeIfThere deletes a file that may be gone already.
func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove file: %w", err)
	}
	return nil
}
