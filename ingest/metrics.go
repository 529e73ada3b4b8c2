package ingest

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what all ingesters of one process do. It is made once a process.
type Metrics struct {
	records  prometheus.Counter
	bytes    prometheus.Counter
	entries  prometheus.Counter
	custom   prometheus.Counter
	position prometheus.Gauge
}

// NewMetrics registers the metrics with reg, which may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const ns, sub = "walhaven", "pageserver_ingest"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	m := &Metrics{
		records: counter("records_total", "WAL records turned into changes."),
		bytes:   counter("bytes_total", "Bytes of WAL records turned into changes."),
		entries: counter("entries_total", "Changes put into the page store."),
		custom:  counter("custom_records_total", "Records of resource managers of extensions, which only their extension can apply."),
		position: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: ns, Subsystem: sub, Name: "lsn_bytes",
			Help: "Position up to which pages can be read, of the timeline that took WAL last.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.records, m.bytes, m.entries, m.custom, m.position)
	}
	return m
}

// reportCustom counts records of an extension's resource manager; the first of a
// process is logged.
func (in *Ingester) reportCustom(c *chunk) {
	in.o.Metrics.custom.Add(float64(c.customs))
	if in.customSeen {
		return
	}
	in.customSeen = true
	in.o.Logger.Warn("WAL has records of a custom resource manager; pages that they change cannot be read before a full image follows",
		slog.String("rmgr", c.custom.String()), slog.String("timeline", in.tl.ID().String()), slog.Any("lsn", c.records[0].start))
}
