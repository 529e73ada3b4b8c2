package protocol

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a Server.
type Metrics struct {
	connections prometheus.Gauge
	accepted    prometheus.Counter
	refused     *prometheus.CounterVec
	commands    *prometheus.HistogramVec
	errors      *prometheus.CounterVec
}

// NewMetrics registers a server's metrics as walhaven_<program>_...; r may be
// nil, and program is then without meaning.
func NewMetrics(r prometheus.Registerer, program string) *Metrics {
	if program == "" {
		program = "protocol"
	}
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "walhaven", Subsystem: program, Name: name, Help: help}
	}
	m := &Metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts(
			opts("connections", "PostgreSQL connections that are open."))),
		accepted: prometheus.NewCounter(prometheus.CounterOpts(
			opts("connections_accepted_total", "PostgreSQL connections that were accepted."))),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts(
			opts("connections_refused_total", "Connections that were refused, by reason.")), []string{"reason"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts(
			opts("command_errors_total", "Errors that commands were answered with, by SQLSTATE class.")), []string{"class"}),
		commands: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "walhaven", Subsystem: program, Name: "command_duration_seconds",
			Help:    "Time that commands took, streams included, by first word.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60},
		}, []string{"command"}),
	}
	// Known reasons are 0 from the start on, so that an increase is seen.
	m.refused.WithLabelValues("authentication")
	m.refused.WithLabelValues("limit")
	m.refused.WithLabelValues("waiting")
	if r != nil {
		r.MustRegister(m.connections, m.accepted, m.refused, m.errors, m.commands)
	}
	return m
}
