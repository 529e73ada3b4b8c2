package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/bench"
)

// plan is what to measure.
type plan struct {
	bench.Place
	systems, workloads []string
	clients            []int
	rounds             int
	seconds, warm      time.Duration
	scale              int
	copy               int // bytes of WAL of the bulk load; 0: none
}

func main() { bench.Main("commits", run) }

func run(ctx context.Context) (err error) {
	var p plan
	systems := flag.String("systems", "A C D-on walhaven walhaven-early walhaven-in-process walhaven-disposable", "systems to measure, in this order")
	workloads := flag.String("workloads", "tiny tpcb", "tiny: one-row INSERTs; tpcb: pgbench's own")
	clients := flag.String("clients", "1 4 16 64", "numbers of clients")
	flag.IntVar(&p.rounds, "rounds", 3, "how often each system has its turn")
	flag.DurationVar(&p.seconds, "time", 20*time.Second, "length of one measurement")
	flag.DurationVar(&p.warm, "warm", 5*time.Second, "pgbench before a system's measurements, for full-page images and caches")
	flag.IntVar(&p.scale, "scale", 20, "of pgbench")
	megabytes := flag.Int("copy", 1024, "MB of WAL that one COPY makes; 0: no bulk load")
	p.Flags()
	flag.Parse()
	p.copy = *megabytes * 1e6
	p.systems, p.workloads = strings.Fields(*systems), strings.Fields(*workloads)
	for _, c := range strings.Fields(*clients) {
		n, err := strconv.Atoi(c)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no number of clients", c)
		}
		p.clients = append(p.clients, n)
	}
	remove, err := p.Open(ctx)
	if err != nil {
		return err
	}
	defer remove()
	cells, err := p.measure(ctx)
	if err != nil {
		return err
	}
	report(os.Stdout, p, cells)
	reportCopy(os.Stdout, p, cells)
	reportPrice(os.Stdout, p, cells)
	reportLimits(os.Stdout, p, cells)
	return nil
}

// measure gives each system its turn in each round.
func (p plan) measure(ctx context.Context) (cells []cell, err error) {
	all := make([]system, len(p.systems))
	defer func() {
		for _, s := range all {
			if s != nil {
				s.remove()
			}
		}
	}()
	for round := range p.rounds {
		for i, name := range p.systems {
			if all[i] == nil {
				bench.Say("making " + name)
				if all[i], err = newSystem(ctx, p, name, filepath.Join(p.Dir, strconv.Itoa(i))); err != nil {
					return nil, fmt.Errorf("make %s: %w", name, err)
				}
			}
			got, err := p.turn(ctx, round, i, all[i])
			if err == nil {
				err = forget(p.Dir)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			cells = append(cells, got...)
		}
	}
	return cells, nil
}

// turn starts a system, measures all its cells and stops it.
func (p plan) turn(ctx context.Context, round, index int, s system) (cells []cell, err error) {
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	defer func() {
		if stop := s.stop(context.WithoutCancel(ctx)); err == nil && stop != nil {
			err = fmt.Errorf("stop: %w", stop)
		}
	}()
	if _, err := s.server().Pgbench(ctx, "-n", "-M", "prepared", "-c", "16", "-j", "2", "-T", seconds(p.warm)); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	for _, workload := range p.workloads {
		for _, clients := range p.clients {
			c, err := p.cell(ctx, s, workload, clients)
			if err != nil {
				return nil, fmt.Errorf("%s with %d clients: %w", workload, clients, err)
			}
			c.round, c.system = round, index
			bench.Say(fmt.Sprintf("round %d, %-8s %s, %2d clients: %.0f/s, p50 %.3f ms, p99 %.3f ms, %.0f us of CPU, %.1f switches",
				round+1, p.systems[index], workload, clients, c.tps, c.p50, c.p99, c.cpu, c.switches))
			for _, name := range slices.Sorted(maps.Keys(c.parts)) {
				u := c.parts[name]
				bench.Say(fmt.Sprintf("         %-20s %.0f us of CPU, %.1f switches", name, c.each(u.cpu.Seconds()*1e6), c.each(float64(u.switches))))
			}
			cells = append(cells, c)
		}
	}
	if p.copy == 0 {
		return cells, nil
	}
	c, err := p.copyCell(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("COPY: %w", err)
	}
	c.round, c.system = round, index
	bench.Say(fmt.Sprintf("round %d, %-8s COPY: %.0f MB/s, %.2f CPU-seconds a GB", round+1, p.systems[index], c.tps, c.cpu))
	for _, name := range slices.Sorted(maps.Keys(c.parts)) {
		bench.Say(fmt.Sprintf("         %-20s %.2f CPU-seconds, %d switches", name, c.parts[name].cpu.Seconds(), c.parts[name].switches))
	}
	return append(cells, c), nil
}

func seconds(d time.Duration) string { return strconv.Itoa(max(1, int(d.Seconds()))) }
