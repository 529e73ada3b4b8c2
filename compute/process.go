package compute

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// pollInterval is how often files and processes are looked at that cannot
	// wake us; pg_ctl does it every 100 ms.
	pollInterval = 10 * time.Millisecond
	// toolGrace is how long a tool may take to end after SIGTERM.
	toolGrace = 5 * time.Second
)

// process is a postmaster that we started.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // Closed when it has ended; err is valid then.
	err  error
}

// startProcess starts cmd and waits for its end in a goroutine that lives as
// long as the process does.
func startProcess(cmd *exec.Cmd) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// running reports whether the process has not ended. One that has ended but was
// not waited for yet counts as ended: whoever stopped it saw it go.
func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return alive(p.cmd.Process.Pid)
	}
}

// until calls cond each pollInterval until it is true or ctx or stop ends.
func until(ctx context.Context, stop <-chan struct{}, cond func() bool) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-stop:
			return errStopped
		case <-tick.C:
		}
	}
	return nil
}

var errStopped = fmt.Errorf("the process ended")

// pidFile is what postmaster.pid says.
type pidFile struct {
	pid    int
	status string // "starting", "ready", "standby", "stopping"; empty early on.
}

func readPidFile(dataDir string) (pidFile, bool) {
	text, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return pidFile{}, false
	}
	lines := strings.Split(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 0 {
		return pidFile{}, false
	}
	f := pidFile{pid: pid}
	if len(lines) >= 8 {
		f.status = strings.TrimSpace(lines[7])
	}
	return f, true
}

// postmasterOf returns the PID of the server that runs on dataDir, 0 if none
// does. A PID file that outlived its server names a process with another
// working directory, or none.
func postmasterOf(dataDir string) int {
	f, ok := readPidFile(dataDir)
	if !ok || !alive(f.pid) {
		return 0
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", f.pid))
	if err != nil || cwd != dataDir {
		if resolved, e := filepath.EvalSymlinks(dataDir); err != nil || e != nil || cwd != resolved {
			return 0
		}
	}
	return f.pid
}

// alive reports whether pid is a process that is not a zombie.
func alive(pid int) bool {
	state, _, ok := procStat(pid)
	return ok && state != "Z" && state != "X"
}

// procStat returns state and parent of pid.
func procStat(pid int) (state string, parent int, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, false
	}
	// The name in parentheses may hold spaces and parentheses itself.
	_, rest, found := cutLast(string(text), ") ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 2 {
		return "", 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, err == nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// childrenOf returns the processes whose parent is pid.
func childrenOf(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var children []int
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if _, parent, ok := procStat(n); ok && parent == pid {
			children = append(children, n)
		}
	}
	return children
}

func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("send %v to process %d: %w", sig, pid, err)
	}
	return nil
}
