package daemon

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Stage is one part of what happens again and again, timed by a histogram in
// seconds without labels.
type Stage struct {
	Name   string // "fsync"
	Metric string // the histogram's name
	From   string // what begins and ends it
}

// stageTimes is what is known of one stage. Times are in microseconds.
type stageTimes struct {
	Stage   string        `json:"stage"`
	Metric  string        `json:"metric"`
	From    string        `json:"from"`
	Count   uint64        `json:"count"`
	Mean    float64       `json:"mean_us"`
	P50     float64       `json:"p50_us"`
	P90     float64       `json:"p90_us"`
	P99     float64       `json:"p99_us"`
	Buckets []stageBucket `json:"buckets"`
}

type stageBucket struct {
	Upto  float64 `json:"le_us"`
	Count uint64  `json:"count"` // in this bucket alone
}

// maxStageSeconds bounds how long a request for stages may wait.
const maxStageSeconds = 60

// Stages serves how long each stage took: since the program began or, with
// ?seconds=N, within the next N seconds. ?format=json has the histograms.
// Quantiles are taken from the buckets, evenly within one.
func Stages(g prometheus.Gatherer, stages []Stage) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before := map[string]counts{}
		if text := r.FormValue("seconds"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > maxStageSeconds {
				http.Error(w, fmt.Sprintf("seconds must be 1 to %d", maxStageSeconds), http.StatusBadRequest)
				return
			}
			if before, err = histograms(g); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			t := time.NewTimer(time.Duration(n) * time.Second)
			defer t.Stop()
			select {
			case <-t.C:
			case <-r.Context().Done():
				return
			}
		}
		after, err := histograms(g)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		times := make([]stageTimes, len(stages))
		for i, s := range stages {
			times[i] = s.times(before[s.Metric], after[s.Metric])
		}
		if r.FormValue("format") == "json" {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(times)
			return
		}
		writeStages(w, times)
	})
}

func writeStages(w http.ResponseWriter, times []stageTimes) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tab, "stage\tcount\tmean us\tp50\tp90\tp99\t  from\t")
	for _, t := range times {
		fmt.Fprintf(tab, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t  %s\t\n", t.Stage, t.Count, t.Mean, t.P50, t.P90, t.P99, t.From)
	}
	_ = tab.Flush()
}

// counts is what a histogram has counted.
type counts struct {
	n      uint64
	sum    float64
	bounds []float64
	upto   []uint64 // by bound, cumulative
}

// histograms gathers those without labels, by name.
func histograms(g prometheus.Gatherer) (map[string]counts, error) {
	families, err := g.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	found := map[string]counts{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			h := m.GetHistogram()
			if h == nil || len(m.GetLabel()) > 0 {
				continue
			}
			c := counts{n: h.GetSampleCount(), sum: h.GetSampleSum()}
			for _, b := range h.GetBucket() {
				if !math.IsInf(b.GetUpperBound(), 0) {
					c.bounds, c.upto = append(c.bounds, b.GetUpperBound()), append(c.upto, b.GetCumulativeCount())
				}
			}
			found[f.GetName()] = c
		}
	}
	return found, nil
}

// times is what came between before, which may be empty, and after.
func (s Stage) times(before, after counts) stageTimes {
	t := stageTimes{Stage: s.Name, Metric: s.Metric, From: s.From, Buckets: []stageBucket{}}
	t.Count = after.n - before.n
	if t.Count == 0 {
		return t
	}
	t.Mean = (after.sum - before.sum) / float64(t.Count) * 1e6
	var last uint64
	for i, bound := range after.bounds {
		n := after.upto[i]
		if i < len(before.upto) {
			n -= before.upto[i]
		}
		t.Buckets = append(t.Buckets, stageBucket{Upto: bound * 1e6, Count: n - last})
		last = n
	}
	t.P50, t.P90, t.P99 = t.quantile(0.5), t.quantile(0.9), t.quantile(0.99)
	return t
}

// quantile is where that part of the times ends.
func (t *stageTimes) quantile(q float64) float64 {
	rank, lower := q*float64(t.Count), 0.0
	for _, b := range t.Buckets {
		if n := float64(b.Count); rank <= n && n > 0 {
			return lower + (b.Upto-lower)*rank/n
		}
		rank -= float64(b.Count)
		lower = b.Upto
	}
	return lower // Beyond the last bound.
}
