package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// results are what the table is made of.
type results struct {
	version      string
	rounds       int
	ingest       []ingested
	redo         applied
	small, large served
	memory       int64 // bytes
}

func (r *results) write(w io.Writer) {
	fmt.Fprintf(w, "\n### Pages, PostgreSQL %s\n\n", r.version)
	fmt.Fprintf(w, "Medians of %d rounds; lowest and highest in brackets. Ratios are of one round each.\n\n", r.rounds)
	fmt.Fprintln(w, "| what | measured | beside a stock standby | goal |\n|---|---|---|---|")
	row := func(what, measured, beside, goal string) {
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", what, measured, beside, goal)
	}
	for _, in := range r.ingest {
		size := fmt.Sprintf("%d MiB of %s WAL", (in.to-in.from)>>20, in.name)
		row("ingest to durable layers, "+size, spread(in.turns, func(t turn) float64 { return t.pageserver.rate / 1e6 }, "%.0f")+" MB/s",
			spread(in.turns, func(t turn) float64 { return t.pageserver.rate / t.standby.rate }, "%.2f")+
				" of "+spread(in.turns, func(t turn) float64 { return t.standby.rate / 1e6 }, "%.0f")+" MB/s", "at least 1.0")
		row("CPU of that", spread(in.turns, func(t turn) float64 { return t.pageserver.cpu * 1e9 }, "%.2f")+" ns a byte",
			spread(in.turns, func(t turn) float64 { return t.pageserver.cpu / t.standby.cpu }, "%.2f")+" of "+
				spread(in.turns, func(t turn) float64 { return t.standby.cpu * 1e9 }, "%.2f")+" ns a byte", "")
		row("space of that", spread(in.turns, func(t turn) float64 { return t.pageserver.space }, "%.2f")+" of the WAL", "", "at most 0.6")
	}
	row("redo in memory, one core, heap and B-tree", fmt.Sprintf("%.0f records a second of processor time, %.3f allocations each, of %d records",
		r.redo.perSecond, r.redo.allocs, r.redo.records), "", "2,000,000/s, none")
	row("page request, cached, one at a time", fmt.Sprintf("p50 %s, p99 %s", us(r.large.cached.p50), us(r.large.cached.p99)), "", "p50 under 60 us")
	row(fmt.Sprintf("page requests, cached, pipelined on %d connections", connections), fmt.Sprintf("%.0f/s", r.large.pipelined), "", "150,000/s")
	row(fmt.Sprintf("page request, not cached, %.1f records to replay", r.large.records),
		fmt.Sprintf("p50 %s, p99 %s", us(r.large.cold.p50), us(r.large.cold.p99)), "", "p99 under 1,000 us")
	row(fmt.Sprintf("p50 on %.0f MB of layers against %.0f MB", r.large.bytes/1e6, r.small.bytes/1e6), fmt.Sprintf("cached %.2f, not cached %.2f",
		ratio(r.large.cached.p50, r.small.cached.p50), ratio(r.large.cold.p50, r.small.cold.p50)), "", "at most 1.3")
	row("memory of the process", fmt.Sprintf("%d MiB at most", r.memory>>20), "", "512 MiB (--memory)")
}

func us(d time.Duration) string { return fmt.Sprintf("%d us", d.Microseconds()) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// spread is a value's median over rounds with its lowest and highest.
func spread(turns []turn, f func(turn) float64, format string) string {
	v := make([]float64, len(turns))
	for i, t := range turns {
		v[i] = f(t)
	}
	slices.Sort(v)
	n := len(v)
	middle := (v[(n-1)/2] + v[n/2]) / 2
	return fmt.Sprintf(format+" ("+format+" to "+format+")", middle, v[0], v[n-1])
}
