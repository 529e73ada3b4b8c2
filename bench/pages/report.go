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

// limits are the goals.
const (
	goalIngest    = 1.0
	goalSpace     = 0.6
	goalRedo      = 2_000_000
	goalCached    = 60 * time.Microsecond
	goalPipelined = 150_000
	goalCold      = time.Millisecond
	goalGrowth    = 1.3
	goalMemory    = 512 << 20
)

// table writes rows of one Markdown table.
type table struct{ w io.Writer }

// row writes what was measured, and beside the standby; reached is nil where there
// is no goal.
func (t table) row(what, measured, beside, goal string, reached ...bool) {
	verdict := ""
	for _, ok := range reached {
		if verdict = "yes"; !ok {
			verdict = "no"
			break
		}
	}
	fmt.Fprintf(t.w, "| %s | %s | %s | %s | %s |\n", what, measured, beside, goal, verdict)
}

func (r *results) write(w io.Writer) {
	fmt.Fprintf(w, "\n### Pages, PostgreSQL %s\n\n", r.version)
	fmt.Fprintf(w, "Medians of %d rounds; lowest and highest in brackets. Ratios are of one round each, to the mean of the standby's turns before and after.\n\n", r.rounds)
	fmt.Fprintln(w, "| what | measured | beside a stock standby | goal | reached |\n|---|---|---|---|---|")
	t := table{w}
	for i := range r.ingest {
		t.ingest(&r.ingest[i])
	}
	t.row("redo in memory, one core, heap and B-tree", fmt.Sprintf("%.0f records a second of processor time, %.3f allocations each, of %d records",
		r.redo.perSecond, r.redo.allocs, r.redo.records), "", "2,000,000/s, none", r.redo.perSecond >= goalRedo, r.redo.allocs < 0.0005)
	t.row("the same with each record decoded", fmt.Sprintf("%.0f records a second of processor time", r.redo.decoded), "", "")
	r.writeRequests(t)
	t.row("memory of the process", fmt.Sprintf("%d MiB at most", r.memory>>20), "", "512 MiB (--memory)", r.memory <= goalMemory)
}

// ingest writes the rows of one workload.
func (t table) ingest(in *ingested) {
	standby := func(t turn) float64 { return (t.standby.rate + t.again.rate) / 2 }
	cpu := func(t turn) float64 { return (t.standby.cpu + t.again.cpu) / 2 }
	fast := func(t turn) float64 { return t.pageserver.rate / standby(t) }
	space := func(t turn) float64 { return t.pageserver.space }
	t.row(fmt.Sprintf("ingest to durable layers, %d MiB of %s WAL", (in.to-in.from)>>20, in.name),
		spread(in.turns, func(t turn) float64 { return t.pageserver.rate / 1e6 }, "%.0f")+" MB/s",
		spread(in.turns, fast, "%.2f")+" of "+spread(in.turns, func(t turn) float64 { return standby(t) / 1e6 }, "%.0f")+" MB/s",
		"at least 1.0", median(in.turns, fast) >= goalIngest)
	t.row("CPU of that", spread(in.turns, func(t turn) float64 { return t.pageserver.cpu * 1e9 }, "%.2f")+" ns a byte",
		spread(in.turns, func(t turn) float64 { return t.pageserver.cpu / cpu(t) }, "%.2f")+" of "+
			spread(in.turns, func(t turn) float64 { return cpu(t) * 1e9 }, "%.2f")+" ns a byte", "")
	t.row("noise: the standby beside itself", "", spread(in.turns, func(t turn) float64 { return t.again.rate / t.standby.rate }, "%.2f")+
		", CPU "+spread(in.turns, func(t turn) float64 { return t.again.cpu / t.standby.cpu }, "%.2f"), "")
	t.row("space of that", spread(in.turns, space, "%.2f")+" of the WAL", "", "at most 0.6", median(in.turns, space) <= goalSpace)
	t.row("layers written for that, flushed and merged", spread(in.turns, func(t turn) float64 { return t.pageserver.written }, "%.2f")+" of the WAL", "", "")
}

// writeRequests writes the rows of page requests.
func (r *results) writeRequests(t table) {
	l, s := &r.large, &r.small
	t.row("page request, cached, one at a time", fmt.Sprintf("p50 %s, p99 %s", us(l.cached.p50), us(l.cached.p99)), "", "p50 under 60 us", l.cached.p50 < goalCached)
	t.row(fmt.Sprintf("page requests, cached, pipelined on %d connections", connections),
		fmt.Sprintf("%.0f/s; CPU each: pageserver %.1f us, client %.1f us", l.pipelined, l.serverCPU*1e6, l.clientCPU*1e6), "", "150,000/s", l.pipelined >= goalPipelined)
	t.row(fmt.Sprintf("page request, not cached, %.1f records to replay", l.records),
		fmt.Sprintf("p50 %s, p99 %s; %.2f layers read", us(l.cold.p50), us(l.cold.p99), l.layers), "", "p99 under 1,000 us", l.cold.p99 < goalCold)
	cached, cold := ratio(l.cached.p50, s.cached.p50), ratio(l.cold.p50, s.cold.p50)
	t.row(fmt.Sprintf("p50 on %.0f MB of layers against %.0f MB", l.bytes/1e6, s.bytes/1e6),
		fmt.Sprintf("cached %.2f, not cached %.2f", cached, cold), "", "at most 1.3", cached <= goalGrowth, cold <= goalGrowth)
}

func us(d time.Duration) string { return fmt.Sprintf("%d us", d.Microseconds()) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// sorted are a value's of all rounds.
func sorted(turns []turn, f func(turn) float64) []float64 {
	v := make([]float64, len(turns))
	for i, t := range turns {
		v[i] = f(t)
	}
	slices.Sort(v)
	return v
}

func median(turns []turn, f func(turn) float64) float64 {
	v := sorted(turns, f)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// spread is a value's median over rounds with its lowest and highest.
func spread(turns []turn, f func(turn) float64, format string) string {
	v := sorted(turns, f)
	return fmt.Sprintf(format+" ("+format+" to "+format+")", median(turns, f), v[0], v[len(v)-1])
}
