package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/walhaven/walhaven/bench"
)

// plan is what to measure.
type plan struct {
	bench.Place
	wal      int64 // bytes of each workload
	rounds   int
	scale    int // of pgbench; the small database has a tenth
	requests int
	cold     int // pages that are asked for once
}

func main() { bench.Main("pages", run) }

func run(ctx context.Context) (err error) {
	var p plan
	megabytes := flag.Int64("wal", 1024, "MiB of WAL of each workload")
	flag.IntVar(&p.rounds, "rounds", 3, "how often standby and pageserver have their turn")
	flag.IntVar(&p.scale, "scale", 20, "of pgbench")
	flag.IntVar(&p.requests, "requests", 100_000, "page requests of each measurement from the cache")
	flag.IntVar(&p.cold, "cold", 2_000, "page requests of each measurement from layers")
	p.Flags()
	flag.Parse()
	p.wal = *megabytes << 20
	if p.wal <= 0 || p.rounds <= 0 || p.scale < 10 || p.requests <= 0 || p.cold <= 0 {
		return fmt.Errorf("numbers must be above 0, and -scale at least 10")
	}
	remove, err := p.Open(ctx)
	if err != nil {
		return err
	}
	defer remove()
	r, err := p.measure(ctx)
	if err != nil {
		return err
	}
	r.write(os.Stdout)
	return nil
}

// tenth makes a database and history a tenth as large. Pages that are not in the cache are
// asked of a table of the same size in both, so that as many share a block.
func (w *world) tenth(ctx context.Context) (d database, err error) {
	if err := w.fill(ctx, w.scale/10, w.cold); err != nil {
		return d, err
	}
	for _, l := range loads {
		if _, _, err := w.write(ctx, l, w.wal/10); err != nil {
			return d, err
		}
	}
	if err := w.chains(ctx, w.cold); err != nil {
		return d, err
	}
	return w.keep(ctx, "small")
}

// measure makes the cluster and takes everything in turn.
func (p plan) measure(ctx context.Context) (_ *results, err error) {
	w, err := newWorld(ctx, p)
	if err != nil {
		return nil, err
	}
	defer w.remove()
	r := &results{rounds: p.rounds, version: p.Install.Version.String()}
	small, err := w.tenth(ctx)
	if err != nil {
		return nil, fmt.Errorf("a tenth: %w", err)
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
			if r.redo, err = measureRedo(w.segments, got.from, p.Install.Version.Major); err != nil {
				return nil, fmt.Errorf("redo: %w", err)
			}
		}
	}
	if err := w.chains(ctx, p.cold); err != nil {
		return nil, err
	}
	large, err := w.keep(ctx, "large")
	if err != nil {
		return nil, fmt.Errorf("the large database: %w", err)
	}
	if r.asked, err = w.askBoth(ctx, small, large); err != nil {
		return nil, fmt.Errorf("page requests: %w", err)
	}
	if r.kept, err = w.space(ctx); err != nil {
		return nil, fmt.Errorf("space: %w", err)
	}
	r.memory, err = w.peak()
	return r, err
}
