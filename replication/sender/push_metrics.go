package sender

import "github.com/prometheus/client_golang/prometheus"

// PushMetrics counts what all push sessions of one process do.
type PushMetrics struct {
	bytes    prometheus.Counter
	sessions *prometheus.CounterVec
}

// NewPushMetrics registers the metrics of program with reg, which may be nil.
func NewPushMetrics(reg prometheus.Registerer, program string) *PushMetrics {
	m := &PushMetrics{
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "walhaven", Subsystem: program, Name: "pushed_bytes_total",
			Help: "WAL bytes sent to pageservers.",
		}),
		sessions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "walhaven", Subsystem: program, Name: "push_sessions_total",
			Help: "Push sessions to pageservers that ended, by outcome.",
		}, []string{"outcome"}),
	}
	// Both outcomes are 0 from the start on, so that an increase is seen.
	m.sessions.WithLabelValues("ok")
	m.sessions.WithLabelValues("error")
	if reg != nil {
		reg.MustRegister(m.bytes, m.sessions)
	}
	return m
}

// Ended counts a session's end.
func (m *PushMetrics) Ended(err error) {
	if m == nil {
		return
	}
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	m.sessions.WithLabelValues(outcome).Inc()
}

func (m *PushMetrics) sent(n int) {
	if m != nil {
		m.bytes.Add(float64(n))
	}
}
