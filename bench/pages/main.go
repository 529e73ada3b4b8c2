package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/walhaven/walhaven/compute"
)

// plan is what to measure.
type plan struct {
	wal      int64 // bytes of each workload
	rounds   int
	scale    int // of pgbench; the small database has a tenth
	requests int
	cold     int // pages that are asked for once
	programs string
	dir      string
	install  compute.Install
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pages:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	var p plan
	megabytes := flag.Int64("wal", 1024, "MiB of WAL of each workload")
	flag.IntVar(&p.rounds, "rounds", 3, "how often standby and pageserver have their turn")
	flag.IntVar(&p.scale, "scale", 20, "of pgbench")
	flag.IntVar(&p.requests, "requests", 100_000, "page requests of each measurement from the cache")
	flag.IntVar(&p.cold, "cold", 10_000, "page requests of each measurement from layers")
	flag.StringVar(&p.programs, "programs", "bin", "folder of walhaven's programs")
	work := flag.String("dir", "", "work in this folder's file system (default: TMPDIR)")
	flag.Parse()
	p.wal = *megabytes << 20
	if p.wal <= 0 || p.rounds <= 0 || p.scale < 10 || p.requests <= 0 || p.cold <= 0 {
		return fmt.Errorf("numbers must be above 0, and -scale at least 10")
	}
	if p.programs, err = filepath.Abs(p.programs); err != nil {
		return err
	}
	want, err := compute.WantFromEnv()
	if err != nil {
		return err
	}
	want.Download, want.Progress = true, say
	if p.install, err = compute.Find(ctx, want); err != nil {
		return err
	}
	if p.dir, err = os.MkdirTemp(*work, "walhaven-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(p.dir) }()
	if err := os.Chmod(p.dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's account has to enter it.
		return err
	}
	r, err := p.measure(ctx)
	if err != nil {
		return err
	}
	r.write(os.Stdout)
	return nil
}

func say(line string) { fmt.Fprintln(os.Stderr, time.Now().Format("15:04:05"), line) }

// measure makes the cluster and takes everything in turn.
func (p plan) measure(ctx context.Context) (_ *results, err error) {
	w, err := newWorld(ctx, p)
	if err != nil {
		return nil, err
	}
	defer w.remove()
	r := &results{rounds: p.rounds, version: p.install.Version.String()}
	if err := w.fill(ctx, p.scale/10, p.cold/4); err != nil {
		return nil, err
	}
	if r.small, err = w.requests(ctx); err != nil {
		return nil, fmt.Errorf("page requests: %w", err)
	}
	if err := w.fill(ctx, p.scale, p.cold); err != nil {
		return nil, err
	}
	for _, l := range loads {
		got, err := w.ingest(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		r.ingest = append(r.ingest, got)
		if l.redo {
			if r.redo, err = measureRedo(w.segments, got.from, p.install.Version.Major); err != nil {
				return nil, fmt.Errorf("redo: %w", err)
			}
		}
	}
	if err := w.chains(ctx, p.cold); err != nil {
		return nil, err
	}
	if r.large, err = w.requests(ctx); err != nil {
		return nil, fmt.Errorf("page requests: %w", err)
	}
	r.memory, err = w.peak()
	return r, err
}
