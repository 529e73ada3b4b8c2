package pageread

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what all readers of one process do. It is made once a process
// and handed to the cache and to each reader.
type Metrics struct {
	cached   prometheus.Gauge
	evicted  prometheus.Counter
	lookups  *prometheus.CounterVec
	hits     prometheus.Counter
	misses   prometheus.Counter
	redo     prometheus.Histogram
	replayed prometheus.Counter
	wait     prometheus.Histogram
	timeouts prometheus.Counter
}

// NewMetrics registers the metrics with reg, which may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const ns, sub = "walhaven", "pageserver"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	histogram := func(name, help string, start, factor float64, n int) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(start, factor, n),
		})
	}
	m := &Metrics{
		cached: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: ns, Subsystem: sub, Name: "page_cache_bytes", Help: "Memory of materialised pages that are kept.",
		}),
		evicted: counter("page_cache_evictions_total", "Materialised pages given up for others."),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "page_lookups_total", Help: "Pages asked for, by whether the materialised page was in the cache.",
		}, []string{"result"}),
		redo:     histogram("page_make_seconds", "Time to read what the store holds of a page and to replay it.", 5e-6, 2.5, 12),
		replayed: counter("page_records_replayed_total", "Records replayed to make pages."),
		wait:     histogram("lsn_wait_seconds", "Time that requests waited for WAL to arrive.", 1e-4, 4, 10),
		timeouts: counter("lsn_wait_failures_total", "Requests whose WAL did not arrive in time."),
	}
	m.hits, m.misses = m.lookups.WithLabelValues("hit"), m.lookups.WithLabelValues("miss")
	if reg != nil {
		reg.MustRegister(m.cached, m.evicted, m.lookups, m.redo, m.replayed, m.wait, m.timeouts)
	}
	return m
}
