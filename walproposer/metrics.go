package walproposer

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
)

// metrics are the walproposer's own.
type metrics struct {
	proposing  *replication.ProposingMetrics
	publish    prometheus.Histogram
	queueWait  prometheus.Histogram
	send       prometheus.Histogram
	roundTrip  prometheus.Histogram
	report     prometheus.Histogram
	received   prometheus.Counter
	early      prometheus.Counter
	earlyOn    prometheus.Gauge
	pushed     prometheus.Counter
	reports    prometheus.Counter
	sessions   prometheus.Counter
	reconnects prometheus.Counter
	feeds      prometheus.Counter
	hedges     prometheus.Counter
	spares     prometheus.Gauge
	slotRoom   prometheus.Gauge
	generation prometheus.Gauge
	members    prometheus.Gauge
	newMembers prometheus.Gauge
	joint      prometheus.Gauge
	walRate    prometheus.Gauge

	unprotected      prometheus.Gauge
	unprotectedTotal prometheus.Counter
	uncopied         prometheus.Gauge

	queueChecks  prometheus.Counter
	queueDamaged prometheus.Counter

	walFree  prometheus.Gauge
	walLasts prometheus.Gauge
}

// outlook exports how long PostgreSQL can keep WAL.
func (m *metrics) outlook(f forecast) {
	m.walRate.Set(f.rate)
	m.walFree.Set(float64(f.free))
	m.walLasts.Set(f.lasts)
}

// membership exports the membership in force.
func (m *metrics) membership(c pushwal.Configuration) {
	m.generation.Set(float64(c.Generation))
	m.members.Set(float64(len(c.Members)))
	m.newMembers.Set(float64(len(c.NewMembers)))
	since := 0.0
	if c.Joint() {
		since = float64(time.Now().Unix())
	}
	m.joint.Set(since)
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
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "walhaven_walproposer_" + name, Help: help})
	}
	return &metrics{
		proposing:        replication.NewProposingMetrics(reg),
		publish:          histogram("publish_seconds", "Time from having read WAL from PostgreSQL to its being in the queue and push workers being woken."),
		send:             histogram("push_send_seconds", "Time that handing WAL to the kernel for a safekeeper took."),
		report:           histogram("report_seconds", "Time from WAL being committed by the quorum to PostgreSQL having been told."),
		queueWait:        histogram("queue_wait_seconds", "Time that WAL waited in the queue before it was sent to a safekeeper."),
		roundTrip:        histogram("push_round_trip_seconds", "Time from sending WAL to a safekeeper to its acknowledgement."),
		received:         counter("received_bytes_total", "WAL received from PostgreSQL."),
		early:            counter("early_bytes_total", "WAL pushed from pg_wal before PostgreSQL had sent it."),
		earlyOn:          gauge("early_push_on", "Whether WAL is pushed as soon as it is in pg_wal (1), of this session."),
		pushed:           counter("pushed_bytes_total", "WAL sent to safekeepers, all together."),
		reports:          counter("reports_total", "Status updates sent to PostgreSQL."),
		sessions:         counter("sessions_total", "Connections to PostgreSQL that were begun."),
		reconnects:       counter("safekeeper_disconnects_total", "Connections to safekeepers that ended or failed."),
		feeds:            counter("laggard_feeds_total", "Times that a safekeeper had fallen behind the queue and was fed from another."),
		hedges:           counter("hedges_total", "Times that the safekeepers a quorum needs kept commits waiting, so that those it can do without were sent WAL at once, too; on one machine only."),
		spares:           gauge("spare_safekeepers", "Safekeepers that a quorum can do without and that get WAL a moment later for now; on one machine only."),
		queueChecks:      counter("queue_checks_total", "Times that all of the queue was checked, because a connection ended in a way that damaged memory would explain."),
		queueDamaged:     counter("queue_damaged_total", "Times that such a check found damage. Each ended the term; the next one has new memory."),
		unprotected:      gauge("commits_unprotected", "Whether commits do not wait for the quorum (1), as of the last look at PostgreSQL."),
		unprotectedTotal: counter("unprotected_intervals_total", "Intervals that began in which commits did not wait for the quorum, or whose wait was cancelled."),
		uncopied:         gauge("unprotected_intervals_uncopied", "Intervals of the ledger that no quorum of safekeepers has, as of the last attempt to give them."),

		generation: gauge("membership_generation", "Generation of the membership in force, as this proposer knows it."),
		members:    gauge("members", "Members in force."),
		newMembers: gauge("new_members", "Members that a change under way leads to; 0 without one."),
		joint:      gauge("membership_joint_since_seconds", "When the joint membership in force came, in Unix time; 0 without a change under way."),

		slotRoom: gauge("slot_headroom_bytes", "WAL that PostgreSQL may still write before it invalidates the replication slot; -1 without a limit."),
		walRate:  gauge("postgres_wal_bytes_per_second", "WAL that PostgreSQL writes, over the last minute."),
		walFree:  gauge("postgres_disk_free_bytes", "Free space where PostgreSQL's pg_wal is; -1 when it is not to be seen from here."),
		walLasts: gauge("postgres_wal_lasts_seconds", "How long PostgreSQL can keep WAL that no quorum takes, at that rate: until its disk is full or its slot is given up; +Inf without end, NaN when not known."),
	}
}
