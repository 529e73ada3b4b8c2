package replication

import "github.com/prometheus/client_golang/prometheus"

// AcceptingMetrics counts what all acceptors of one process do.
type AcceptingMetrics struct {
	sessions prometheus.Gauge
	requests prometheus.Counter
	damaged  prometheus.Counter
	rebuilds prometheus.Counter
	write    prometheus.Histogram
	answer   prometheus.Histogram
	hot      *prometheus.CounterVec
	fromHot  prometheus.Counter
	fromFile prometheus.Counter
}

// NewAcceptingMetrics registers the metrics with reg, which may be nil.
func NewAcceptingMetrics(reg prometheus.Registerer) *AcceptingMetrics {
	name := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "walhaven", Subsystem: "safekeeper", Name: name, Help: help}
	}
	m := &AcceptingMetrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts(name("proposer_sessions", "Open sessions of proposers."))),
		requests: prometheus.NewCounter(prometheus.CounterOpts(name("append_requests_total", "Append requests taken, heartbeats included."))),
		damaged:  prometheus.NewCounter(prometheus.CounterOpts(name("damaged_frames_total", "WAL frames refused because their CRC was wrong."))),
		rebuilds: prometheus.NewCounter(prometheus.CounterOpts(name("acceptor_rebuilds_total", "Acceptors started again from disk after a failed write."))),
		write: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "walhaven", Subsystem: "safekeeper", Name: "append_write_seconds",
			Help: "Time from having received WAL until it was checked and written.", Buckets: CommitBuckets(),
		}),
		answer: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "walhaven", Subsystem: "safekeeper", Name: "append_response_seconds",
			Help: "Time from the first append that a sync covers until its answer was sent.", Buckets: CommitBuckets(),
		}),
	}
	m.hot = prometheus.NewCounterVec(prometheus.CounterOpts(name("wal_reads_total",
		"Reads of WAL for those that it is sent to, by where it came from: the newest WAL, kept in memory, or its file.")), []string{"source"})
	m.fromHot, m.fromFile = m.hot.WithLabelValues("memory"), m.hot.WithLabelValues("file")
	if reg != nil {
		reg.MustRegister(m.sessions, m.requests, m.damaged, m.rebuilds, m.write, m.answer, m.hot)
	}
	return m
}
