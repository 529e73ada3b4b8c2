package compute

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/walhaven/walhaven/internal/postmaster"
)

// StartOptions change how a server is started.
type StartOptions struct {
	// Detach lets the server outlive this process.
	Detach bool
}

// portRetries is how often a start is tried again with another port.
const portRetries = 5

// Start starts PostgreSQL and returns when it takes connections (a standby:
// read-only ones). When ctx ends first, the server is stopped again. An error
// carries the end of the server's log.
func (s *Server) Start(ctx context.Context, o StartOptions) error {
	for try := 0; ; try++ {
		err := s.startOnce(ctx, o)
		if err == nil || !s.autoPort || try == portRetries || !strings.Contains(err.Error(), "Address already in use") {
			return err
		}
		s.mu.Lock()
		err = errors.Join(s.changePort(), writeSettings(s.dataDir, s.settings))
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (s *Server) startOnce(ctx context.Context, o StartOptions) error {
	p, logStart, err := s.launch(o)
	if err != nil {
		return err
	}
	err = until(ctx, p.done, func() bool {
		f, err := postmaster.ReadPIDFile(s.dataDir)
		return err == nil && f.PID == p.cmd.Process.Pid && (f.Status == "ready" || f.Status == "standby")
	})
	if err == nil {
		return nil
	}
	if !errors.Is(err, errStopped) {
		// Nobody waits for it any more: do not leave it half started.
		_ = signal(p.cmd.Process.Pid, syscall.SIGQUIT)
		<-p.done
	}
	return fmt.Errorf("start PostgreSQL on %s: %w; its log ends with:\n%s", s.dataDir, err, s.logSince(logStart))
}

// launch starts the postmaster; logStart is where its part of the log begins.
func (s *Server) launch(o StartOptions) (p *process, logStart int64, err error) {
	if pid := s.PID(); pid != 0 {
		return nil, 0, fmt.Errorf("start PostgreSQL on %s: %w as process %d", s.dataDir, ErrRunning, pid)
	}
	if err := ensureSocketDir(s.SocketDir()); err != nil {
		return nil, 0, err
	}
	// Not by CommandContext: the server ends by Stop, not with Start's context.
	cmd, err := s.install.Command(context.Background(), "postgres", "-D", s.dataDir)
	if err != nil {
		return nil, 0, err
	}
	cmd = &exec.Cmd{Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, SysProcAttr: cmd.SysProcAttr}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Setsid = false, true
	// SIGQUIT is the immediate shutdown: no process of the server stays.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	if o.Detach {
		cmd.SysProcAttr.Pdeathsig = 0
	}
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open the server's log: %w", err)
	}
	defer log.Close() // The server has its own descriptor.
	info, err := log.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("open the server's log: %w", err)
	}
	cmd.Stdout, cmd.Stderr = log, log

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process.running() {
		return nil, 0, fmt.Errorf("start PostgreSQL on %s: %w", s.dataDir, ErrRunning)
	}
	if p, err = startProcess(cmd); err != nil {
		return nil, 0, err
	}
	s.process = p
	return p, info.Size(), nil
}

// logSince returns the last lines of what the log got after offset.
func (s *Server) logSince(offset int64) string {
	text, err := os.ReadFile(s.LogFile())
	if err != nil {
		return err.Error()
	}
	return lastLines(string(text[min(offset, int64(len(text))):]))
}

// PID returns the postmaster's process ID, 0 when the server does not run. It
// finds a server that another process started, too.
func (s *Server) PID() int {
	s.mu.Lock()
	p := s.process
	s.mu.Unlock()
	if p.running() {
		return p.cmd.Process.Pid
	}
	return postmaster.PID(s.dataDir)
}

// Done returns a channel that is closed when the server that this Server
// started last has ended; nil if it has started none.
func (s *Server) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	return s.process.done
}
