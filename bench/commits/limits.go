package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// limit is what a form of walhaven has to reach beside a peer, and what is aimed
// at. Both are ratios.
type limit struct {
	what       string
	peer       string
	disposable bool // of the form with --disposable-compute, not of the others
	from, to   int  // clients
	of         func(cell) float64
	atMost     bool // lower is better
	must, goal float64
}

// limits are those of commits.
var limits = []limit{
	{what: "commits/s", peer: "C", from: 1, to: 4, of: tps, must: 0.9, goal: 1.3},
	{what: "commits/s", peer: "C", from: 5, to: 64, of: tps, must: 0.85, goal: 1.2},
	{what: "commits/s", peer: "D-on", from: 1, to: 64, of: tps, must: 1.05, goal: 1.5},
	{what: "p50", peer: "C", from: 1, to: 64, of: p50, atMost: true, must: 1.15, goal: 0.75},
	{what: "p99", peer: "C", from: 1, to: 16, of: p99, atMost: true, must: 1.25, goal: 0.9},
	{what: "p99", peer: "C", from: 17, to: 64, of: p99, atMost: true, must: 2, goal: 1.2},
	{what: "CPU/commit", peer: "C", from: 1, to: 64, of: cpu, atMost: true, must: 1.35, goal: 0.85},
	{what: "commits/s", peer: "C", disposable: true, from: 1, to: 1, of: tps, must: 1.15, goal: 1.4},
	{what: "commits/s", peer: "C", disposable: true, from: 2, to: 64, of: tps, must: 1.2, goal: 1.7},
}

// copyLimit is that of the bulk load.
var copyLimit = limit{what: "COPY MB/s", peer: "C", of: tps, must: 1, goal: 1.3}

// concerns says whether the limit is one of this system.
func (l limit) concerns(system string) bool {
	return strings.HasPrefix(system, ours) && strings.HasSuffix(system, "-disposable") == l.disposable
}

// verdict says what ratio has reached.
func (l limit) verdict(ratio float64) string {
	better := func(than float64) bool { return ratio >= than && !l.atMost || ratio <= than && l.atMost }
	switch {
	case better(l.goal):
		return "goal reached"
	case better(l.must):
		return "must reached"
	}
	return "**missed**"
}

// String is the limit's cells.
func (l limit) String() string {
	sign := "≥"
	if l.atMost {
		sign = "≤"
	}
	return fmt.Sprintf("%s to %s | %s %.2f | %s %.2f", l.what, l.peer, sign, l.must, sign, l.goal)
}

// reportLimits prints what was reached of what is asked for.
func reportLimits(w io.Writer, p plan, cells []cell) {
	var rows []string
	add := func(l limit, system int, workload string, clients int) {
		peer := slices.Index(p.systems, l.peer)
		base := pick(cells, peer, workload, clients)
		of := pick(cells, system, workload, clients)
		if peer < 0 || len(base) == 0 || len(of) == 0 {
			return
		}
		noise := "-"
		if again := slices.Index(p.systems[peer+1:], l.peer); again >= 0 {
			noise = span(ratios(pick(cells, peer+1+again, workload, clients), base, l.of))
		}
		r := ratios(of, base, l.of)
		rows = append(rows, fmt.Sprintf("| %s | %d | %s | %s | %.2f (%s) | %s | %s |", workload, clients, p.systems[system], l, middle(r), span(r), noise, l.verdict(middle(r))))
	}
	for i, name := range p.systems {
		for _, workload := range p.workloads {
			for _, clients := range p.clients {
				for _, l := range limits {
					if l.concerns(name) && clients >= l.from && clients <= l.to {
						add(l, i, workload, clients)
					}
				}
			}
		}
		if copyLimit.concerns(name) {
			add(copyLimit, i, copyLoad, 1)
		}
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprint(w, "\n### Musts and goals\n\nMedians of the rounds' ratios, lowest and highest in brackets; noise is the peer beside itself, if it was named twice.\n\n")
	fmt.Fprintln(w, "| workload | clients | system | ratio of | must | goal | measured | noise | |\n|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		fmt.Fprintln(w, r)
	}
}

// ratios of f within each round, rising.
func ratios(of, base []cell, f func(cell) float64) []float64 {
	r := make([]float64, min(len(of), len(base)))
	for i := range r {
		r[i] = f(of[i]) / f(base[i])
	}
	slices.Sort(r)
	return r
}

// span is the lowest and highest of rising values.
func span(rising []float64) string {
	return fmt.Sprintf("%.2f-%.2f", rising[0], rising[len(rising)-1])
}
