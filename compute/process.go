package compute

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/walhaven/walhaven/internal/procstat"
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
		return procstat.Runs(p.cmd.Process.Pid)
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

func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("send %v to process %d: %w", sig, pid, err)
	}
	return nil
}
