package compute

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Tool prepares a client program that connects to the server by default (PGHOST
// and the like are set). It runs as PostgreSQL's account and gets SIGTERM when
// ctx ends.
func (s *Server) Tool(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	cmd, err := s.install.Command(ctx, name, args...)
	if err != nil {
		return nil, err
	}
	cmd.Env = append(cmd.Env,
		"PGHOST="+s.SocketDir(), "PGPORT="+s.Setting("port"), "PGUSER="+s.User(), "PGDATABASE=postgres")
	if s.password != "" {
		// The pgpass file is ours, not the account's, and the environment of a
		// process is as private as the file.
		cmd.Env = append(cmd.Env, "PGPASSWORD="+s.password)
	}
	return cmd, nil
}

// Psql runs psql without start-up file, unaligned, tuples only, stopping at the
// first error, and returns what it printed without the last newline.
func (s *Server) Psql(ctx context.Context, args ...string) (string, error) {
	cmd, err := s.Tool(ctx, "psql", append([]string{"-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"}, args...)...)
	if err != nil {
		return "", err
	}
	out, err := output(cmd)
	return strings.TrimSuffix(out, "\n"), err
}

// Pgbench runs pgbench and returns what it printed.
func (s *Server) Pgbench(ctx context.Context, args ...string) (string, error) {
	cmd, err := s.Tool(ctx, "pgbench", args...)
	if err != nil {
		return "", err
	}
	return output(cmd)
}

// BaseBackup runs pg_basebackup into dir, which it makes, with a fast
// checkpoint. Further args come last.
func (s *Server) BaseBackup(ctx context.Context, dir string, args ...string) error {
	if err := makeDataDir(dir); err != nil {
		return err
	}
	cmd, err := s.Tool(ctx, "pg_basebackup", append([]string{"-D", dir, "-c", "fast"}, args...)...)
	if err != nil {
		return err
	}
	_, err = output(cmd)
	return err
}

// Background is a tool that runs beside us until it is stopped.
type Background struct {
	process *process
	stderr  *strings.Builder // Read only when the process has ended.
}

// ReceiveWAL starts pg_receivewal against the server with dir as its target,
// which it makes. Further args come last.
func (s *Server) ReceiveWAL(ctx context.Context, dir string, args ...string) (*Background, error) {
	if err := makeDataDir(dir); err != nil {
		return nil, err
	}
	cmd, err := s.Tool(ctx, "pg_receivewal", append([]string{"-D", dir}, args...)...)
	if err != nil {
		return nil, err
	}
	return RunBackground(cmd)
}

// RunBackground starts cmd, made by [Server.Tool] or [Install.Command].
func RunBackground(cmd *exec.Cmd) (*Background, error) {
	b := &Background{stderr: &strings.Builder{}}
	if cmd.Stderr == nil {
		cmd.Stderr = b.stderr
	}
	var err error
	b.process, err = startProcess(cmd)
	return b, err
}

// Done returns a channel that is closed when the tool has ended.
func (b *Background) Done() <-chan struct{} { return b.process.done }

// Wait returns when the tool has ended, with its error and last words.
func (b *Background) Wait() error {
	<-b.process.done
	if b.process.err != nil {
		return fmt.Errorf("%w: %s", b.process.err, lastLines(b.stderr.String()))
	}
	return nil
}

// Stop sends SIGINT, as a person would, waits for the end, and kills the tool
// after grace. Having been interrupted is not an error.
func (b *Background) Stop(grace time.Duration) error {
	cmd := b.process.cmd
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the tool: %w", err)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-b.process.done:
	case <-timer.C:
		_ = cmd.Process.Kill() // Its end is waited for below.
		<-b.process.done
		return fmt.Errorf("stop the tool: still running after %v: killed", grace)
	}
	var exit *exec.ExitError
	if errors.As(b.process.err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGINT {
			return nil
		}
	}
	return b.Wait()
}
