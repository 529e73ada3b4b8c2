package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// reportPrice prints what the quorum costs, as README shows it.
func reportPrice(w io.Writer, p plan, cells []cell) {
	alone, quorum := slices.Index(p.systems, "A"), slices.Index(p.systems, ours)
	if alone < 0 || quorum < 0 || !slices.Contains(p.workloads, "tiny") {
		return
	}
	fmt.Fprint(w, "\n### The price\n\n| clients | PostgreSQL alone: commits/s, mean latency | with the quorum | ratio of latency |\n|---|---|---|---|\n")
	for _, n := range p.clients {
		a, q := pick(cells, alone, "tiny", n), pick(cells, quorum, "tiny", n)
		fmt.Fprintf(w, "| %d | %.0f, %.2f ms | %.0f, %.2f ms | %.2f |\n", n, median(a, tps), median(a, mean), median(q, tps), median(q, mean), median(q, mean)/median(a, mean))
	}
}

// report prints medians over the rounds, and ratios to the peers.
func report(w io.Writer, p plan, cells []cell) {
	for _, workload := range p.workloads {
		fmt.Fprintf(w, "\n### %s\n\nMedians of %d rounds of %v; spread is (max - min) / median of the commits a second.\n\n", workload, p.rounds, p.seconds)
		fmt.Fprintln(w, "| clients | system | commits/s | spread | mean ms | p50 ms | p99 ms | CPU us/commit | switches/commit |\n|---|---|---|---|---|---|---|---|---|")
		for _, n := range p.clients {
			for i, name := range p.systems {
				of := pick(cells, i, workload, n)
				fmt.Fprintf(w, "| %d | %s | %.0f | %.0f %% | %.3f | %.3f | %.3f | %.0f | %.1f |\n", n, name, median(of, tps), 100*spread(of),
					median(of, mean), median(of, p50), median(of, p99), median(of, cpu), median(of, switches))
			}
		}
		for peer, name := range p.systems {
			if !strings.HasPrefix(name, ours) && name != "A" && slices.Index(p.systems, name) == peer {
				reportRatios(w, p, cells, workload, peer)
			}
		}
	}
}

func reportRatios(w io.Writer, p plan, cells []cell, workload string, peer int) {
	fmt.Fprintf(w, "\nRatios to %s: medians of the rounds' ratios, lowest and highest in brackets.\n\n", p.systems[peer])
	fmt.Fprintln(w, "| clients | system | commits/s | p50 | p99 | CPU/commit | switches/commit |\n|---|---|---|---|---|---|---|")
	for _, n := range p.clients {
		base := pick(cells, peer, workload, n)
		for i, name := range p.systems {
			if i == peer {
				continue
			}
			of := pick(cells, i, workload, n)
			fmt.Fprintf(w, "| %d | %s |", n, name)
			for _, f := range []func(cell) float64{tps, p50, p99, cpu, switches} {
				r := ratios(of, base, f)
				fmt.Fprintf(w, " %.2f (%s) |", middle(r), span(r))
			}
			fmt.Fprintln(w)
		}
	}
}

func tps(c cell) float64  { return c.tps }
func mean(c cell) float64 { return c.mean }
func p50(c cell) float64  { return c.p50 }
func p99(c cell) float64  { return c.p99 }
func cpu(c cell) float64  { return c.cpu }

func switches(c cell) float64 { return c.switches }

// pick returns a system's cells, a round each.
func pick(cells []cell, system int, workload string, clients int) (out []cell) {
	for _, c := range cells {
		if c.system == system && c.workload == workload && c.clients == clients {
			out = append(out, c)
		}
	}
	return out
}

func values(of []cell, f func(cell) float64) []float64 {
	v := make([]float64, len(of))
	for i, c := range of {
		v[i] = f(c)
	}
	slices.Sort(v)
	return v
}

func median(of []cell, f func(cell) float64) float64 { return middle(values(of, f)) }

// middle is the median of rising values.
func middle(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func spread(of []cell) float64 {
	v := values(of, tps)
	return (v[len(v)-1] - v[0]) / middle(v)
}
