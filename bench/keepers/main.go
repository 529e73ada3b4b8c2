package main

import (
	"context"
	"flag"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/bench"
)

// plan is what to measure.
type plan struct {
	bench.Place
	rounds    int
	bytes     int // of WAL
	timelines []int
	seconds   time.Duration // of a measurement of timelines
	fio       string        // "": there is none
}

// rows are the measurements in the order in which they are made.
var rows = []struct {
	name string
	run  func(plan, context.Context) error
}{
	{"push", plan.push},
	{"receive", plan.receive},
	{"waldump", plan.waldump},
	{"timelines", plan.manyTimelines},
}

func main() { bench.Main("keepers", run) }

func run(ctx context.Context) (err error) {
	var p plan
	wanted := flag.String("rows", "push receive waldump timelines", "what to measure")
	megabytes := flag.Int("wal", 512, "MiB of WAL")
	numbers := flag.String("timelines", "1 10 100 1000", "numbers of timelines")
	flag.IntVar(&p.rounds, "rounds", 3, "how often each side has its turn")
	flag.DurationVar(&p.seconds, "time", 10*time.Second, "length of a measurement of timelines")
	p.Flags()
	flag.StringVar(&p.fio, "fio", "fio", "fio, which is left out where there is none")
	flag.Parse()
	for _, f := range strings.Fields(*numbers) {
		n, err := strconv.Atoi(f)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no number of timelines", f)
		}
		p.timelines = append(p.timelines, n)
	}
	if p.bytes = *megabytes << 20; p.rounds < 1 || *megabytes < 64 || *megabytes > 4096 {
		return fmt.Errorf("-rounds must be above 0, -wal 64 to 4096")
	}
	if p.fio, err = exec.LookPath(p.fio); err != nil {
		bench.Say("going on without fio: " + err.Error())
		p.fio = ""
	}
	remove, err := p.Open(ctx)
	if err != nil {
		return err
	}
	defer remove()
	for _, row := range rows {
		if slices.Contains(strings.Fields(*wanted), row.name) {
			if err := row.run(p, ctx); err != nil {
				return fmt.Errorf("%s: %w", row.name, err)
			}
		}
	}
	return nil
}

// sides are the rounds' figures of two sides of a row.
type sides struct{ ours, theirs []float64 }

func (s *sides) add(ours, theirs float64) {
	s.ours, s.theirs = append(s.ours, ours), append(s.theirs, theirs)
}

// String is the table's cells: medians, and the median of the rounds' ratios with
// the lowest and highest.
func (s *sides) String() string {
	ratios := make([]float64, len(s.ours))
	for i := range ratios {
		ratios[i] = s.ours[i] / s.theirs[i]
	}
	slices.Sort(ratios)
	return fmt.Sprintf("%.0f | %.0f | %.2f (%.2f-%.2f)", median(s.ours), median(s.theirs), median(ratios), ratios[0], ratios[len(ratios)-1])
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
