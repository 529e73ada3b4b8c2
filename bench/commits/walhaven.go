package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/operator"
)

// walhaven is a cluster as `walhaven up` makes it, without its pageserver.
type walhaven struct {
	up      operator.UpOptions
	install compute.Install
	cluster *operator.Cluster
	primary *compute.Server
}

// ours begins the names of walhaven's forms.
const ours = "walhaven"

// pageserver begins the names of pageservers, which the other systems have no part for.
const pageserver = "pageserver"

func newWalhaven(ctx context.Context, p plan, name, dir string) (_ system, err error) {
	s := &walhaven{install: p.Install, up: operator.UpOptions{
		Dir: dir, BinDir: p.Install.BinDir, Safekeepers: 3, Programs: p.Programs, Out: io.Discard,
	}}
	switch strings.TrimPrefix(name, ours) {
	case "":
	case "-early":
		s.up.EarlyPush = true
	case "-in-process":
		s.up.InProcess = true
	case "-in-process-early":
		s.up.InProcess, s.up.EarlyPush = true, true
	case "-disposable":
		s.up.Disposable = true
	default:
		return nil, fmt.Errorf("there is no form of walhaven called %q", name)
	}
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if err := fill(ctx, s.primary, p.scale); err != nil {
		return nil, err
	}
	if err := s.primary.Set(ctx, settings); err != nil {
		return nil, err
	}
	return s, s.stop(ctx)
}

func (s *walhaven) begin(ctx context.Context) (err error) {
	if s.cluster, err = operator.Up(ctx, s.up); err != nil {
		return err
	}
	password, err := os.ReadFile(s.cluster.PasswordFile)
	if err != nil {
		return err
	}
	s.primary, err = compute.Open(compute.OpenOptions{
		Install: s.install, DataDir: s.cluster.Postgres.DataDir, Password: strings.TrimSpace(string(password)),
	})
	return err
}

func (s *walhaven) start(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	for _, name := range s.cluster.Daemons() {
		if strings.HasPrefix(name, pageserver) {
			if err := s.kill(ctx, name); err != nil {
				return err
			}
		}
	}
	return synchronous(ctx, s.primary, s.primary.Setting("synchronous_standby_names"), 1)
}

// kill ends a daemon before it writes anything more, and returns once it is gone.
func (s *walhaven) kill(ctx context.Context, name string) error {
	if err := syscall.Kill(s.cluster.PID(name), syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	for s.cluster.PID(name) != 0 {
		if err := pause.For(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (s *walhaven) stop(ctx context.Context) error {
	return operator.Down(ctx, s.up.Dir, false, io.Discard)
}

func (s *walhaven) server() *compute.Server { return s.primary }

func (s *walhaven) receivers() (pids []int) {
	for _, name := range s.cluster.Daemons() {
		if pid := s.cluster.PID(name); pid != 0 && !strings.HasPrefix(name, pageserver) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (s *walhaven) remove() { _ = operator.Down(context.Background(), s.up.Dir, true, io.Discard) }
