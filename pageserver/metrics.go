package pageserver

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walhaven/walhaven/protocol/pagestream"
)

// metrics of what is taken from pushers.
type metrics struct {
	received   prometheus.Counter
	mismatches prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "walhaven", Subsystem: program, Name: name, Help: help})
	}
	m := &metrics{
		received:   counter("received_bytes_total", "New WAL bytes taken from pushers."),
		mismatches: counter("wal_mismatches_total", "Pushes whose WAL or history contradicted what is stored. Anything but 0 is an alarm."),
	}
	if reg != nil {
		reg.MustRegister(m.received, m.mismatches)
	}
	return m
}

// requestMetrics of page requests.
type requestMetrics struct {
	seconds  [pagestream.GetSlruSegment + 1]prometheus.Observer // by kind
	batch    prometheus.Histogram
	failures prometheus.Counter
}

func newRequestMetrics(reg prometheus.Registerer) *requestMetrics {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "walhaven", Subsystem: program, Name: "page_request_seconds",
		Help:    "Time from a page request's arrival to its answer, with the wait for WAL.",
		Buckets: prometheus.ExponentialBuckets(1e-5, 4, 12),
	}, []string{"kind"})
	m := &requestMetrics{
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "walhaven", Subsystem: program, Name: "page_request_batch_size",
			Help: "Page requests that had arrived together.", Buckets: prometheus.ExponentialBuckets(1, 2, 6),
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "walhaven", Subsystem: program, Name: "page_request_failures_total", Help: "Page requests that were answered with an error.",
		}),
	}
	for kind := range m.seconds {
		m.seconds[kind] = seconds.WithLabelValues(pagestream.Kind(kind).String())
	}
	if reg != nil {
		reg.MustRegister(seconds, m.batch, m.failures)
	}
	return m
}

// timelineCollector exports the timelines' positions as they are at the moment
// of the scrape.
type timelineCollector struct {
	timelines *timelines

	count, failed, lastRecord, durable, commit, lagBytes, lagSeconds, pushers, halted, fenced *prometheus.Desc

	applied, flushed, floor, applyLag, pagesReady, layerBytes, memory *prometheus.Desc
}

func newTimelineCollector(r *timelines) *timelineCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("walhaven", program, name), help, labels, nil)
	}
	tl := func(name, help string) *prometheus.Desc { return desc(name, help, "tenant_id", "timeline_id") }
	return &timelineCollector{
		timelines: r,
		count:     desc("timelines", "Timelines that are served."),
		failed:    desc("failed_timelines", "Timelines that are on disk but did not load."),

		lastRecord: tl("last_record_lsn_bytes", "End of the last whole record received, as a byte position in the WAL."),
		durable:    tl("disk_consistent_lsn_bytes", "End of the last whole durable record, as a byte position in the WAL."),
		commit:     tl("commit_lsn_bytes", "Highest commit position that a pusher announced."),
		lagBytes:   tl("lag_bytes", "Announced WAL that is not durable here yet."),
		lagSeconds: tl("lag_seconds", "Time since when announced WAL has been missing here; 0 when none is."),
		pushers:    tl("pushers", "Safekeepers that are connected."),
		halted:     tl("halted", "Whether the timeline takes no more WAL because a pusher's differed (1)."),
		fenced:     tl("fenced", "Whether the timeline refuses WAL after a failed write or fsync (1)."),

		applied:    tl("applied_lsn_bytes", "End of the last record whose changes can be read as pages; 0 without pages."),
		flushed:    tl("pages_flushed_lsn_bytes", "End of the WAL that durable layers hold; 0 without pages."),
		floor:      tl("oldest_page_lsn_bytes", "Lowest position at which pages can be read; 0 without pages."),
		applyLag:   tl("apply_lag_bytes", "Durable WAL that is not turned into pages yet; 0 without pages."),
		pagesReady: tl("pages_ready", "Whether pages are served (1)."),
		layerBytes: tl("timeline_layer_bytes", "Bytes of the timeline's own layer files."),
		memory:     tl("timeline_memory_bytes", "Memory of changes that are in no layer file yet."),
	}
}

// Describe implements prometheus.Collector.
func (c *timelineCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.count, c.failed, c.lastRecord, c.durable, c.commit, c.lagBytes, c.lagSeconds, c.pushers, c.halted, c.fenced,
		c.applied, c.flushed, c.floor, c.applyLag, c.pagesReady, c.layerBytes, c.memory,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *timelineCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	live := c.timelines.list()
	gauge(c.count, float64(len(live)))
	gauge(c.failed, float64(len(c.timelines.failures())))
	for _, t := range live {
		id := []string{t.id.Tenant.String(), t.id.Timeline.String()}
		start := t.store.Control().Start
		behind, since := t.lag(time.Now())
		gauge(c.lastRecord, float64(max(t.store.Positions().WriteRecord, start)), id...)
		gauge(c.durable, float64(max(t.durable(), start)), id...)
		gauge(c.commit, float64(t.announced()), id...)
		gauge(c.lagBytes, float64(behind), id...)
		gauge(c.lagSeconds, since.Seconds(), id...)
		gauge(c.pushers, float64(len(t.receivers())), id...)
		gauge(c.halted, bit(t.haltedErr() != nil), id...)
		gauge(c.fenced, bit(t.store.Fenced() != nil), id...)
		v := t.pages.view()
		gauge(c.applied, float64(v.Applied), id...)
		gauge(c.flushed, float64(v.Flushed), id...)
		gauge(c.floor, float64(v.Floor), id...)
		gauge(c.applyLag, float64(t.applyLag(&v)), id...)
		gauge(c.pagesReady, bit(v.Phase == phaseActive && v.Failed == nil), id...)
		gauge(c.layerBytes, float64(v.Info.LayerBytes), id...)
		gauge(c.memory, float64(v.Info.MemoryBytes), id...)
	}
}

func bit(v bool) float64 {
	if v {
		return 1
	}
	return 0
}
