package compute

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/walhaven/walhaven/internal/procstat"
)

// Mode is a way to stop PostgreSQL.
type Mode int

// The modes, as pg_ctl names them.
const (
	Smart     Mode = iota // Wait for clients to leave.
	Fast                  // Disconnect clients, write a shutdown checkpoint.
	Immediate             // No checkpoint: the next start recovers.
)

var modeSignals = map[Mode]syscall.Signal{Smart: syscall.SIGTERM, Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT}

// String returns pg_ctl's name of the mode.
func (m Mode) String() string {
	return [...]string{"smart", "fast", "immediate"}[m]
}

// Stop asks the server to stop and returns when all its processes are gone. A
// server that does not run is no error. When ctx ends first the server is left
// stopping and the error wraps ctx's.
func (s *Server) Stop(ctx context.Context, mode Mode) error {
	pid := s.PID()
	if pid == 0 {
		return nil
	}
	if err := signal(pid, modeSignals[mode]); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	if err := s.waitGone(ctx, []int{pid}); err != nil {
		return fmt.Errorf("stop PostgreSQL on %s (%s): %w", s.dataDir, mode, err)
	}
	s.removeTemporarySocketDir()
	return nil
}

// Kill ends all processes of the server by SIGKILL, as a lost machine does, and
// returns when they are gone.
func (s *Server) Kill() error {
	pid := s.PID()
	if pid == 0 {
		return nil
	}
	// Stopped first, the postmaster cannot fork between the look and the kill.
	if err := signal(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill PostgreSQL: %w", err)
	}
	children, unknown := procstat.Children(pid)
	all := append([]int{pid}, children...)
	for _, p := range all {
		if err := signal(p, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill PostgreSQL: %w", err)
		}
	}
	return errors.Join(unknown, s.waitGone(context.Background(), all))
}

// Signal sends sig to the postmaster, such as SIGSTOP for a machine that hangs;
// with children, to each of its processes.
func (s *Server) Signal(sig syscall.Signal, children bool) error {
	pid := s.PID()
	if pid == 0 {
		return ErrNotRunning
	}
	pids := []int{pid}
	if children {
		more, err := procstat.Children(pid)
		if err != nil {
			return err
		}
		pids = append(pids, more...)
	}
	for _, p := range pids {
		if err := signal(p, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// Restart stops the server in mode and starts it again.
func (s *Server) Restart(ctx context.Context, mode Mode, o StartOptions) error {
	if err := s.Stop(ctx, mode); err != nil {
		return err
	}
	return s.Start(ctx, o)
}

// Remove deletes the data directory of a stopped server and what lies beside it.
func (s *Server) Remove() error {
	if pid := s.PID(); pid != 0 {
		return fmt.Errorf("remove %s: %w as process %d", s.dataDir, ErrRunning, pid)
	}
	s.removeTemporarySocketDir()
	var errs []error
	for _, path := range []string{s.dataDir, s.LogFile(), s.PassFile()} {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

// waitGone waits until none of pids is a process that runs. Children that lost
// their postmaster have another parent, so they cannot be waited for otherwise.
func (s *Server) waitGone(ctx context.Context, pids []int) error {
	err := until(ctx, nil, func() bool {
		for _, pid := range pids {
			if procstat.Runs(pid) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	p := s.process
	s.mu.Unlock()
	if p != nil && p.cmd.Process.Pid == pids[0] {
		<-p.done // It is dead: only its reaping is left.
	}
	return nil
}

// removeTemporarySocketDir removes a socket folder that lies among the
// temporary ones; Start makes it again. A failure leaves an empty folder.
func (s *Server) removeTemporarySocketDir() {
	dir := s.SocketDir()
	if filepath.Dir(dir) == filepath.Clean(os.TempDir()) && strings.HasPrefix(filepath.Base(dir), "walhaven-run-") {
		_ = os.RemoveAll(dir)
	}
}
