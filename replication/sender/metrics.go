package sender

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what all senders of one process do.
type Metrics struct {
	sessions prometheus.Gauge
	bytes    prometheus.Counter
}

// NewMetrics registers the metrics of program with reg, which may be nil.
func NewMetrics(reg prometheus.Registerer, program string) *Metrics {
	m := &Metrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "walhaven", Subsystem: program, Name: "replication_sessions",
			Help: "Open START_REPLICATION streams.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "walhaven", Subsystem: program, Name: "replication_sent_bytes_total",
			Help: "WAL bytes sent on START_REPLICATION streams.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.sessions, m.bytes)
	}
	return m
}
