package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// results are what the table is made of.
type results struct {
	version string
	rounds  int
	ingest  []ingested
	redo    applied
	asked   []asked
	kept    kept
	memory  int64 // bytes
}

// What must be reached, and, where that is more, what is aimed at.
const (
	mustIngest    = 1.0
	goalIngest    = 2.0
	mustSpace     = 0.6
	mustRedo      = 2_000_000
	mustCached    = 60 // us
	mustPipelined = 150_000
	mustCold      = 1000 // us
	mustGrowth    = 1.3
	mustMemory    = 512 << 20
)

// What others have published: short records a second of Neon's redo helper, and its
// time for a page.
const (
	publishedRedo = 30_000
	publishedPage = 220 * time.Microsecond
)

// table writes rows of one Markdown table.
type table struct{ w io.Writer }

// row is one of the table. Peer and ratio are empty where there is nothing to be
// put beside it, must and goal where nothing is asked.
type row struct{ what, measured, peer, ratio, must, goal string }

// row writes one; reached says of must, then of goal, whether they are.
func (t table) row(r row, reached ...bool) {
	mark := func(limit string, n int) string {
		switch {
		case limit == "":
			return ""
		case reached[n]:
			return limit + ": yes"
		}
		return limit + ": **no**"
	}
	fmt.Fprintf(t.w, "| %s | %s | %s | %s | %s | %s |\n", r.what, r.measured, r.peer, r.ratio, mark(r.must, 0), mark(r.goal, 1))
}

func (r *results) write(w io.Writer) {
	fmt.Fprintf(w, "\n### Pages, PostgreSQL %s\n\n", r.version)
	fmt.Fprintf(w, "Medians of %d rounds; lowest and highest in brackets. The peer is a stock standby that streams the same WAL; ratios are of one round each, to the mean of its turns before and after.\n\n", r.rounds)
	fmt.Fprintln(w, "| what | measured | peer | ratio | must | goal |\n|---|---|---|---|---|---|")
	t := table{w}
	for i := range r.ingest {
		t.ingest(&r.ingest[i])
	}
	t.row(row{
		what: "redo in memory, one core, heap and B-tree", measured: fmt.Sprintf("%.0f records a second of processor time, %.3f allocations each, of %d records",
			r.redo.perSecond, r.redo.allocs, r.redo.records),
		peer: fmt.Sprintf("about %d/s (Neon's redo helper, published)", publishedRedo), ratio: fmt.Sprintf("%.0f", r.redo.perSecond/publishedRedo), must: "2,000,000/s, no allocation",
	}, r.redo.perSecond >= mustRedo && r.redo.allocs < 0.0005)
	t.row(row{what: "the same with each record decoded", measured: fmt.Sprintf("%.0f records a second of processor time", r.redo.decoded)})
	r.writeRequests(t)
	k := &r.kept
	t.row(row{
		what:     fmt.Sprintf("layers when all but a window of %s has been collected, %.0f MB before", keptWindow, k.before/1e6),
		measured: fmt.Sprintf("%.0f MB", k.layers/1e6), peer: fmt.Sprintf("%.0f MB of databases, %.1f MB of the window's WAL", k.base/1e6, k.window/1e6),
		ratio: fmt.Sprintf("%.2f", k.layers/(k.base+k.window)), must: "at most 1.0",
	}, k.layers <= k.base+k.window)
	t.row(row{what: "memory of the process", measured: fmt.Sprintf("%d MiB at most", r.memory>>20), must: "at most 512 MiB (--memory)"}, r.memory <= mustMemory)
}

// ingest writes the rows of one workload.
func (t table) ingest(in *ingested) {
	standby := func(t turn) float64 { return (t.standby.rate + t.again.rate) / 2 }
	cpu := func(t turn) float64 { return (t.standby.cpu + t.again.cpu) / 2 }
	fast := func(t turn) float64 { return t.pageserver.rate / standby(t) }
	space := func(t turn) float64 { return t.pageserver.space }
	show := func(f func(turn) float64, scale float64, format string) string {
		return spread(in.turns, func(t turn) float64 { return f(t) * scale }, format)
	}
	t.row(row{
		what:     fmt.Sprintf("ingest to durable layers, %d MiB of %s WAL", (in.to-in.from)>>20, in.name),
		measured: show(func(t turn) float64 { return t.pageserver.rate }, 1e-6, "%.0f") + " MB/s",
		peer:     show(standby, 1e-6, "%.0f") + " MB/s", ratio: show(fast, 1, "%.2f"), must: "at least 1.0", goal: "2.0",
	}, median(in.turns, fast) >= mustIngest, median(in.turns, fast) >= goalIngest)
	t.row(row{
		what: "CPU of that", measured: show(func(t turn) float64 { return t.pageserver.cpu }, 1e9, "%.2f") + " ns a byte",
		peer: show(cpu, 1e9, "%.2f") + " ns a byte", ratio: show(func(t turn) float64 { return t.pageserver.cpu / cpu(t) }, 1, "%.2f"),
	})
	t.row(row{
		what:  "noise: the standby's second turn beside its first",
		ratio: show(func(t turn) float64 { return t.again.rate / t.standby.rate }, 1, "%.2f") + ", CPU " + show(func(t turn) float64 { return t.again.cpu / t.standby.cpu }, 1, "%.2f"),
	})
	t.row(row{what: "space of that", measured: show(space, 1, "%.2f") + " of the WAL", must: "at most 0.6"}, median(in.turns, space) <= mustSpace)
	t.row(row{what: "layers written for that, flushed and merged", measured: show(func(t turn) float64 { return t.pageserver.written }, 1, "%.2f") + " of the WAL"})
}

// writeRequests writes the rows of page requests.
func (r *results) writeRequests(t table) {
	show := func(f func(asked) float64, format string) string { return spread(r.asked, f, format) }
	of := func(f func(asked) time.Duration) func(asked) float64 {
		return func(a asked) float64 { return float64(f(a)) / float64(time.Microsecond) }
	}
	cached, cold := of(func(a asked) time.Duration { return a.large.cached.p50 }), of(func(a asked) time.Duration { return a.large.cold.p50 })
	late := of(func(a asked) time.Duration { return a.large.cold.p99 })
	published := float64(publishedPage / time.Microsecond)
	t.row(row{
		what:     "page request, cached, one at a time",
		measured: "us: p50 " + show(cached, "%.0f") + ", p99 " + show(of(func(a asked) time.Duration { return a.large.cached.p99 }), "%.0f"),
		peer:     fmt.Sprintf("%.0f us (Neon, published)", published), ratio: fmt.Sprintf("%.2f", median(r.asked, cached)/published), must: "p50 under 60 us",
	}, median(r.asked, cached) < mustCached)
	pipelined := func(a asked) float64 { return a.large.pipelined }
	t.row(row{
		what: fmt.Sprintf("page requests, cached, pipelined on %d connections", connections),
		measured: show(pipelined, "%.0f") + " a second; us of CPU each: pageserver " + show(func(a asked) float64 { return a.large.serverCPU * 1e6 }, "%.1f") +
			", client " + show(func(a asked) float64 { return a.large.clientCPU * 1e6 }, "%.1f"), must: "at least 150,000/s",
	}, median(r.asked, pipelined) >= mustPipelined)
	l, s := &r.asked[0].large, &r.asked[0].small
	t.row(row{
		what:     fmt.Sprintf("page request, not cached, %.1f records to replay", l.records),
		measured: "us: p50 " + show(cold, "%.0f") + ", p99 " + show(late, "%.0f") + fmt.Sprintf("; %.2f layers read", l.layers), must: "p99 under 1,000 us",
	}, median(r.asked, late) < mustCold)
	grownCached := func(a asked) float64 { return ratio(a.large.cached.p50, a.small.cached.p50) }
	grownCold := func(a asked) float64 { return ratio(a.large.cold.p50, a.small.cold.p50) }
	t.row(row{
		what:  fmt.Sprintf("page request, p50 on %.0f MB of layers beside %.0f MB", l.bytes/1e6, s.bytes/1e6),
		ratio: "cached " + show(grownCached, "%.2f") + ", not cached " + show(grownCold, "%.2f"), must: "at most 1.3",
	}, median(r.asked, grownCached) <= mustGrowth && median(r.asked, grownCold) <= mustGrowth)
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// sorted are a value's of all rounds.
func sorted[T any](rounds []T, f func(T) float64) []float64 {
	v := make([]float64, len(rounds))
	for i, t := range rounds {
		v[i] = f(t)
	}
	slices.Sort(v)
	return v
}

func median[T any](rounds []T, f func(T) float64) float64 {
	v := sorted(rounds, f)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// spread is a value's median over rounds with its lowest and highest.
func spread[T any](rounds []T, f func(T) float64, format string) string {
	v := sorted(rounds, f)
	return fmt.Sprintf(format+" ("+format+" to "+format+")", median(rounds, f), v[0], v[len(v)-1])
}
