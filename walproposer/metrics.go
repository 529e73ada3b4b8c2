package walproposer

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/walhaven/walhaven/replication"
)

// metrics are the walproposer's own.
type metrics struct {
	proposing  *replication.ProposingMetrics
	queueWait  prometheus.Histogram
	roundTrip  prometheus.Histogram
	received   prometheus.Counter
	pushed     prometheus.Counter
	reports    prometheus.Counter
	sessions   prometheus.Counter
	reconnects prometheus.Counter
	feeds      prometheus.Counter
	slotRoom   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "walhaven_walproposer_" + name, Help: help})
	}
	histogram := func(name, help string) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{
			Name: "walhaven_walproposer_" + name, Help: help, Buckets: replication.CommitBuckets(),
		})
	}
	return &metrics{
		proposing:  replication.NewProposingMetrics(reg),
		queueWait:  histogram("queue_wait_seconds", "Time that WAL waited in the queue before it was sent to a safekeeper."),
		roundTrip:  histogram("push_round_trip_seconds", "Time from sending WAL to a safekeeper to its acknowledgement."),
		received:   counter("received_bytes_total", "WAL received from PostgreSQL."),
		pushed:     counter("pushed_bytes_total", "WAL sent to safekeepers, all together."),
		reports:    counter("reports_total", "Status updates sent to PostgreSQL."),
		sessions:   counter("sessions_total", "Connections to PostgreSQL that were begun."),
		reconnects: counter("safekeeper_disconnects_total", "Connections to safekeepers that ended or failed."),
		feeds:      counter("laggard_feeds_total", "Times that a safekeeper had fallen behind the queue and was fed from another."),
		slotRoom: f.NewGauge(prometheus.GaugeOpts{
			Name: "walhaven_walproposer_slot_headroom_bytes",
			Help: "WAL that PostgreSQL may still write before it invalidates the replication slot; -1 without a limit.",
		}),
	}
}

func (m *metrics) observeRoundTrip(d time.Duration) { m.roundTrip.Observe(d.Seconds()) }
