package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/compute"
)

// peers is a primary with n receivers named r1 and so on: pg_receivewal, or
// streaming standbys.
type peers struct {
	n        int
	names    string // synchronous_standby_names
	standbys bool

	dir     string
	primary *compute.Server
	replica []*compute.Server
	tools   []*compute.Background
	pids    []int
}

func (s *peers) server() *compute.Server { return s.primary }

// prepare fills the primary and takes what a receiver starts from.
func (s *peers) prepare(ctx context.Context, p plan) (err error) {
	if err := s.primary.Start(ctx, compute.StartOptions{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.primary.Stop(context.WithoutCancel(ctx), compute.Fast)) }()
	if err := fill(ctx, s.primary, p.scale); err != nil {
		return err
	}
	for i := range s.n {
		name := receiverName(i)
		if err := s.primary.Exec(ctx, "SELECT pg_create_physical_replication_slot('"+name+"', true)"); err != nil {
			return err
		}
		if !s.standbys {
			continue
		}
		if err := s.prepareStandby(ctx, p, name); err != nil {
			return fmt.Errorf("make standby: %w", err)
		}
	}
	return nil
}

func (s *peers) prepareStandby(ctx context.Context, p plan, name string) error {
	data := filepath.Join(s.dir, name, "data")
	if err := os.MkdirAll(filepath.Dir(data), 0o755); err != nil { //nolint:gosec // PostgreSQL's account has to enter it.
		return err
	}
	if err := s.primary.BaseBackup(ctx, data, "-X", "stream"); err != nil {
		return err
	}
	standby, err := compute.Open(compute.OpenOptions{Install: p.Install, DataDir: data, NewPort: true, Settings: map[string]string{
		"primary_conninfo": s.primary.Conninfo() + " application_name=" + name, "primary_slot_name": name, "shared_buffers": "256MB",
	}})
	if err != nil {
		return err
	}
	s.replica = append(s.replica, standby)
	return standby.WriteFile("standby.signal", nil)
}

func receiverName(i int) string { return "r" + strconv.Itoa(i+1) }

func (s *peers) start(ctx context.Context) error {
	if err := s.primary.Start(ctx, compute.StartOptions{}); err != nil {
		return err
	}
	s.pids = nil
	for _, standby := range s.replica {
		if err := standby.Start(ctx, compute.StartOptions{}); err != nil {
			return err
		}
		s.pids = append(s.pids, standby.PID())
	}
	if !s.standbys {
		for i := range s.n {
			if err := s.receive(ctx, receiverName(i)); err != nil {
				return err
			}
		}
	}
	return synchronous(ctx, s.primary, s.names, s.n)
}

// receive starts pg_receivewal in a folder that keeps only what it resumes at.
func (s *peers) receive(ctx context.Context, name string) error {
	dir := filepath.Join(s.dir, name)
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for i := range max(0, len(files)-2) {
		if err := os.Remove(filepath.Join(dir, files[i].Name())); err != nil {
			return err
		}
	}
	if err := s.makeOwned(dir); err != nil {
		return err
	}
	conninfo := s.primary.Conninfo() + " application_name=" + name
	cmd, err := s.primary.Tool(context.WithoutCancel(ctx), "pg_receivewal", "-d", conninfo, "-D", dir, "--slot="+name, "--synchronous", "--no-loop")
	if err != nil {
		return err
	}
	tool, err := compute.RunBackground(cmd)
	if err != nil {
		return err
	}
	s.tools, s.pids = append(s.tools, tool), append(s.pids, cmd.Process.Pid)
	return nil
}

func (s *peers) makeOwned(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's account has to enter it.
		return err
	}
	account, err := compute.RunAs()
	if err != nil {
		return err
	}
	return account.Own(dir)
}

func (s *peers) receivers() []int { return s.pids }

func (s *peers) stop(ctx context.Context) error {
	// Commits must not wait any more, or the end would.
	err := s.primary.Set(ctx, map[string]string{"synchronous_standby_names": ""})
	err = errors.Join(err, s.primary.Stop(ctx, compute.Fast))
	for _, tool := range s.tools {
		// It ends by itself with its server, and says so by its exit code.
		if stop := tool.Stop(10 * time.Second); stop != nil && !strings.Contains(stop.Error(), "disconnected") {
			err = errors.Join(err, stop)
		}
	}
	s.tools = nil
	for _, standby := range s.replica {
		err = errors.Join(err, standby.Stop(ctx, compute.Fast))
	}
	return err
}

func (s *peers) remove() {
	for _, server := range append(s.replica, s.primary) {
		_ = server.Kill()
		_ = server.Remove()
	}
}
