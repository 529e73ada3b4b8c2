package walstore

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what all stores of one process do. It is made once a process
// and handed to each store.
type Metrics struct {
	fsync       prometheus.Histogram
	append      prometheus.Counter
	group       prometheus.Histogram
	syncWait    prometheus.Histogram
	switches    *prometheus.CounterVec
	prepare     prometheus.Histogram
	control     prometheus.Histogram
	rewritten   prometheus.Counter
	removed     prometheus.Counter
	failures    *prometheus.CounterVec
	fenced      prometheus.Gauge
	switchReady prometheus.Counter
	switchStall prometheus.Counter
}

// latencyBuckets reach from a fast NVMe drive's fsync to a disk that hangs: 8 us
// to 41 s.
var latencyBuckets = prometheus.ExponentialBuckets(8e-6, 1.6, 34)

// NewMetrics registers the metrics of program ("safekeeper" or "pageserver")
// with reg, which may be nil.
func NewMetrics(reg prometheus.Registerer, program string) *Metrics {
	ns, sub := "walhaven", program+"_wal"
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: name, Help: help, Buckets: buckets,
		})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	m := &Metrics{
		fsync:     histogram("fsync_duration_seconds", "Time that one fsync or fdatasync of WAL, of the control file or of a folder took.", latencyBuckets),
		append:    counter("appended_bytes_total", "WAL bytes written to segment files."),
		group:     histogram("group_commit_size", "Number of callers that shared one sync.", []float64{1, 2, 4, 8, 16, 32, 64, 128, 256}),
		syncWait:  histogram("sync_wait_seconds", "Time from a caller's request to sync until it was answered.", latencyBuckets),
		prepare:   histogram("segment_prepare_duration_seconds", "Time that zeroing and syncing a segment ahead of its use took.", latencyBuckets),
		control:   histogram("control_file_write_duration_seconds", "Time that one durable write of a control file took.", latencyBuckets),
		rewritten: counter("recovery_rewritten_bytes_total", "WAL bytes above the watermark that were rewritten into fresh files before use."),
		removed:   counter("removed_segments_total", "WAL segments removed by retention."),
		fenced:    prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "fenced_timelines", Help: "Timelines that refuse WAL after a failed write or fsync until they are recovered."}),
		switches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "segment_switches_total",
			Help: "Segments begun, by whether the file had been prepared ahead.",
		}, []string{"prepared"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "write_failures_total",
			Help: "Failed writes, syncs and renames, by reason.",
		}, []string{"reason"}),
	}
	// Both reasons are 0 from the start on, so that an increase is seen.
	m.failures.WithLabelValues("disk_full")
	m.failures.WithLabelValues("io")
	m.switchReady = m.switches.WithLabelValues("true")
	m.switchStall = m.switches.WithLabelValues("false")
	if reg != nil {
		reg.MustRegister(m.fsync, m.append, m.group, m.syncWait, m.prepare, m.control,
			m.rewritten, m.removed, m.fenced, m.switches, m.failures)
	}
	return m
}
