package pagestore

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what all stores of one process do. It is made once a process
// and handed to each store. Write amplification is layer bytes written (flushed
// and merged) over bytes put; read amplification is the layers visited a read.
type Metrics struct {
	put        prometheus.Counter
	flushed    prometheus.Counter
	merged     prometheus.Counter
	mergeInput prometheus.Counter
	collected  prometheus.Counter
	images     *prometheus.CounterVec
	failures   *prometheus.CounterVec
	putWait    prometheus.Histogram
	flush      prometheus.Histogram
	merge      prometheus.Histogram
	publish    prometheus.Histogram
	fsync      prometheus.Histogram
	getLayers  prometheus.Histogram
	getDeltas  prometheus.Histogram
	memory     prometheus.Gauge
	layerBytes prometheus.Gauge
	layers     prometheus.Gauge
}

var (
	durationBuckets = []float64{.0001, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
	countBuckets    = []float64{0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 1024}
)

// NewMetrics registers the metrics with reg, which may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const ns, sub = "walhaven", "pageserver_store"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help, Buckets: buckets})
	}
	vector := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value) // 0 from the start on, so that an increase is seen.
		}
		return v
	}
	m := &Metrics{
		put:        counter("put_bytes_total", "Bytes of values put."),
		flushed:    counter("flushed_bytes_total", "Bytes of layer files written by flushes."),
		merged:     counter("compaction_written_bytes_total", "Bytes of layer files written by compactions."),
		mergeInput: counter("compaction_read_bytes_total", "Bytes of layer files that compactions replaced."),
		collected:  counter("collected_entries_total", "Entries that compactions left out because no readable LSN needs them."),
		images:     vector("images_total", "Images asked of the caller for long chains of deltas, by result.", "result", "made", "refused", "failed"),
		failures:   vector("background_failures_total", "Failed flushes and compactions, by operation.", "operation", "flush", "compact"),
		putWait:    histogram("put_wait_seconds", "Time that puts waited for a flush because memory was full.", durationBuckets),
		flush:      histogram("flush_duration_seconds", "Time from a frozen layer to the index that names its files.", durationBuckets),
		merge:      histogram("compaction_duration_seconds", "Time that one compaction took.", durationBuckets),
		publish:    histogram("index_write_duration_seconds", "Time that one durable write of an index took.", durationBuckets),
		fsync:      histogram("fsync_duration_seconds", "Time that one fsync of a layer file, index or folder took.", durationBuckets),
		getLayers:  histogram("get_layers", "Layer files visited for one value.", countBuckets),
		getDeltas:  histogram("get_deltas", "Deltas returned for one value.", countBuckets),
		memory:     gauge("memory_bytes", "Bytes of in-memory layers."),
		layerBytes: gauge("layer_bytes", "Bytes of layer files that indexes name."),
		layers:     gauge("layers", "Layer files that indexes name."),
	}
	if reg != nil {
		reg.MustRegister(m.put, m.flushed, m.merged, m.mergeInput, m.collected, m.images, m.failures, m.putWait, m.flush,
			m.merge, m.publish, m.fsync, m.getLayers, m.getDeltas, m.memory, m.layerBytes, m.layers)
	}
	return m
}
