package walproposer

import (
	"maps"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// sample is one metric of a child on its way to the supervisor. Only what this
// package registers goes there: counters, gauges and histograms without labels.
type sample struct {
	Name    string   `json:"name"`
	Help    string   `json:"help"`
	Kind    string   `json:"kind"`
	Value   number   `json:"value"`
	Count   uint64   `json:"count,omitempty"`
	Sum     number   `json:"sum"`
	Buckets []bucket `json:"buckets,omitempty"`
}

// number is a float64 that JSON can carry whatever it is: infinite, or none.
type number float64

// MarshalText writes it as strconv does.
func (n number) MarshalText() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(n), 'g', -1, 64), nil
}

// UnmarshalText reads it.
func (n *number) UnmarshalText(b []byte) error {
	v, err := strconv.ParseFloat(string(b), 64)
	*n = number(v)
	return err
}

type bucket struct {
	Upto  float64 `json:"le"`
	Count uint64  `json:"n"`
}

const (
	sampleCounter   = "counter"
	sampleGauge     = "gauge"
	sampleHistogram = "histogram"
)

// samplesOf reads a registry.
func samplesOf(g prometheus.Gatherer) []sample {
	families, err := g.Gather()
	if err != nil {
		return nil
	}
	var out []sample
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if len(m.GetLabel()) > 0 || !strings.HasPrefix(f.GetName(), "walhaven_") {
				continue
			}
			s := sample{Name: f.GetName(), Help: f.GetHelp()}
			switch {
			case m.GetCounter() != nil:
				s.Kind, s.Value = sampleCounter, number(m.GetCounter().GetValue())
			case m.GetGauge() != nil:
				s.Kind, s.Value = sampleGauge, number(m.GetGauge().GetValue())
			case m.GetHistogram() != nil:
				h := m.GetHistogram()
				s.Kind, s.Count, s.Sum = sampleHistogram, h.GetSampleCount(), number(h.GetSampleSum())
				for _, b := range h.GetBucket() {
					if !math.IsInf(b.GetUpperBound(), 0) {
						s.Buckets = append(s.Buckets, bucket{b.GetUpperBound(), b.GetCumulativeCount()})
					}
				}
			}
			if s.Kind != "" {
				out = append(out, s)
			}
		}
	}
	return out
}

// plus adds another process's sample of the same metric. Counters and histograms
// add up; of a gauge the tap's stays, which comes first.
func (s sample) plus(o sample) sample {
	if s.Kind != o.Kind || s.Kind == sampleGauge {
		return s
	}
	s.Value, s.Count, s.Sum = s.Value+o.Value, s.Count+o.Count, s.Sum+o.Sum
	if len(s.Buckets) == 0 {
		s.Buckets = o.Buckets
	} else if len(s.Buckets) == len(o.Buckets) {
		s.Buckets = slices.Clone(s.Buckets)
		for i := range s.Buckets {
			s.Buckets[i].Count += o.Buckets[i].Count
		}
	}
	return s
}

// tally keeps what all children have counted, those that are gone included, so
// that no counter ever falls.
type tally struct {
	mu   sync.Mutex
	live map[uint64][]sample // by child, as last heard
	past map[string]sample   // counters and histograms of children that are gone
}

func newTally() *tally { return &tally{live: map[uint64][]sample{}, past: map[string]sample{}} }

// heard takes what a child counts now.
func (t *tally) heard(child uint64, samples []sample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live[child] = samples
}

// gone moves a child's counts to the past.
func (t *tally) gone(child uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.live[child] {
		if s.Kind == sampleGauge {
			continue
		}
		if old, ok := t.past[s.Name]; ok {
			s = old.plus(s)
		}
		t.past[s.Name] = s
	}
	delete(t.live, child)
}

// total is the sum over all, by name.
func (t *tally) total() []sample {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := maps.Clone(t.past)
	for _, child := range slices.Sorted(maps.Keys(t.live)) {
		for _, s := range t.live[child] {
			if old, ok := sum[s.Name]; ok {
				s = old.plus(s)
			}
			sum[s.Name] = s
		}
	}
	out := slices.Collect(maps.Values(sum))
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// metric is s for a Collector.
func (s sample) metric() (prometheus.Metric, error) {
	desc := prometheus.NewDesc(s.Name, s.Help, nil, nil)
	switch s.Kind {
	case sampleHistogram:
		buckets := make(map[float64]uint64, len(s.Buckets))
		for _, b := range s.Buckets {
			buckets[b.Upto] = b.Count
		}
		return prometheus.NewConstHistogram(desc, s.Count, float64(s.Sum), buckets)
	case sampleGauge:
		return prometheus.NewConstMetric(desc, prometheus.GaugeValue, float64(s.Value))
	default:
		return prometheus.NewConstMetric(desc, prometheus.CounterValue, float64(s.Value))
	}
}
