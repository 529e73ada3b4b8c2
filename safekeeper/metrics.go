package safekeeper

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the process, beside those of the packages that it assembles.
type metrics struct {
	failed       prometheus.Counter
	settled      prometheus.Counter
	settleFailed prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "walhaven", Subsystem: program, Name: name, Help: help})
	}
	m := &metrics{
		failed:       counter("peer_catchups_failed_total", "Attempts to take over committed WAL from a peer that failed."),
		settled:      counter("headless_syncs_total", "Times that this member settled the end of WAL because no walproposer was heard."),
		settleFailed: counter("headless_syncs_failed_total", "Attempts to settle the end of WAL that failed."),
	}
	if reg != nil {
		reg.MustRegister(m.failed, m.settled, m.settleFailed)
	}
	return m
}

// timelineCollector exports the timelines' positions as they are at the moment
// of the scrape.
type timelineCollector struct {
	timelines *registry
	disk      *diskProbe

	free, needed                                  *prometheus.Desc
	count, failed                                 *prometheus.Desc
	commit, flush, truncate, oldest, remote, slot *prometheus.Desc
	term, lastLog, terms, writer, joining, fenced *prometheus.Desc
	senders, receivers                            *prometheus.Desc
	pushLag, pushConnected, pushActive, pushAlarm *prometheus.Desc
	pushGap                                       *prometheus.Desc
	senderLag                                     *prometheus.Desc
}

func newTimelineCollector(r *registry, d *diskProbe) *timelineCollector {
	id := []string{"tenant_id", "timeline_id"}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("walhaven", program, name), help, labels, nil)
	}
	tl := func(name, help string, more ...string) *prometheus.Desc {
		return desc(name, help, append(append([]string{}, id...), more...)...)
	}
	return &timelineCollector{
		timelines: r, disk: d,
		free:      desc("disk_free_bytes", "Free space where the data directory is, as of the last look."),
		needed:    desc("disk_min_free_bytes", "Free space below which this safekeeper is not ready."),
		count:     desc("timelines", "Timelines that are served."),
		failed:    desc("failed_timelines", "Timelines that are on disk but did not load."),
		commit:    tl("commit_lsn_bytes", "Commit position, as a byte position in the WAL."),
		flush:     tl("flush_lsn_bytes", "End of the last whole durable record, as a byte position in the WAL."),
		truncate:  tl("truncate_lsn_bytes", "Position that every member has reached, as far as the proposer said."),
		oldest:    tl("oldest_lsn_bytes", "Oldest byte position that can be read."),
		remote:    tl("remote_consistent_lsn_bytes", "The remote LSN: position up to which every pageserver has the WAL in an object store; 0 without one."),
		slot:      tl("slots_min_restart_lsn_bytes", "Oldest byte position that a replication slot reserves."),
		term:      tl("term", "Highest term that was voted for."),
		lastLog:   tl("last_log_term", "Term of the last WAL."),
		terms:     tl("term_history_entries", "Terms that wrote WAL. Each new connection to PostgreSQL that writes adds one."),
		writer:    tl("writer_age_seconds", "Time since a proposer was last heard."),
		joining:   tl("joining", "Whether this member is joining and has no vote (1)."),
		fenced:    tl("fenced", "Whether the timeline refuses WAL after a failed write or fsync (1)."),
		senders:   tl("senders", "Clients that are being sent WAL."),
		receivers: tl("receivers", "Proposers that are connected."),
		senderLag: tl("sender_lag_max_bytes", "Bytes that the slowest client's flushed position is behind the commit position."),
		pushLag:   tl("pageserver_lag_bytes", "Bytes that a pageserver's durable position is behind the commit position.", "pageserver"),

		pushGap: tl("pageserver_gap_bytes", "WAL that the pageserver lacks and that was removed here because the disk ran full; SHOW GAPS names it.", "pageserver"),

		pushConnected: tl("pageserver_connected", "Whether a push session to the pageserver is open (1).", "pageserver"),
		pushActive:    tl("pageserver_active", "Whether this safekeeper is the one that the pageserver takes WAL from (1).", "pageserver"),
		pushAlarm:     tl("pageserver_corruption", "Whether the pageserver stopped because its WAL and a pusher's differ (1).", "pageserver"),
	}
}

// Describe implements prometheus.Collector.
func (c *timelineCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.free, c.needed, c.count, c.failed, c.commit, c.flush, c.truncate, c.oldest, c.remote, c.slot, c.term, c.lastLog, c.terms, c.writer,
		c.joining, c.fenced, c.senders, c.receivers, c.senderLag, c.pushLag, c.pushConnected, c.pushActive, c.pushAlarm, c.pushGap,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *timelineCollector) Collect(ch chan<- prometheus.Metric) {
	live := c.timelines.list()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	free, needed := c.disk.space()
	gauge(c.free, float64(free))
	gauge(c.needed, float64(needed))
	gauge(c.count, float64(len(live)))
	gauge(c.failed, float64(len(c.timelines.failures())))
	for _, t := range live {
		c.collectTimeline(gauge, t)
	}
}

func (c *timelineCollector) collectTimeline(gauge func(*prometheus.Desc, float64, ...string), t *timeline) {
	id := []string{t.id.Tenant.String(), t.id.Timeline.String()}
	st := t.accepting.Status()
	gauge(c.commit, float64(st.CommitLSN), id...)
	gauge(c.flush, float64(st.FlushLSN), id...)
	gauge(c.truncate, float64(st.TruncateLSN), id...)
	gauge(c.oldest, float64(st.Oldest), id...)
	gauge(c.remote, float64(st.RemoteConsistentLSN), id...)
	if at, ok := t.slots.minRestart(); ok {
		gauge(c.slot, float64(at), id...)
	}
	gauge(c.term, float64(st.Term), id...)
	gauge(c.lastLog, float64(st.LastLogTerm), id...)
	gauge(c.terms, float64(len(st.History)), id...)
	if st.WriterAge >= 0 {
		gauge(c.writer, st.WriterAge.Seconds(), id...)
	}
	gauge(c.joining, bit(st.Joining), id...)
	gauge(c.fenced, bit(t.store.Fenced() != nil), id...)
	senders := t.sessions.list(kindSender)
	gauge(c.senders, float64(len(senders)), id...)
	gauge(c.receivers, float64(len(t.sessions.list(kindReceiver))), id...)
	if len(senders) > 0 {
		var slowest uint64
		for _, s := range senders {
			v := s.view()
			slowest = max(slowest, lag(st.CommitLSN, max(v.reported.Flush, v.reported.Write)))
		}
		gauge(c.senderLag, float64(slowest), id...)
	}
	for _, p := range t.pushes.list() {
		v, labels := p.view(), append(append([]string{}, id...), p.addr)
		gauge(c.pushLag, float64(lag(st.CommitLSN, v.feedback.Flush)), labels...)
		gauge(c.pushGap, float64(t.gaps.size(p.addr)), labels...)
		gauge(c.pushConnected, bit(v.connected), labels...)
		gauge(c.pushActive, bit(v.feedback.Active), labels...)
		gauge(c.pushAlarm, bit(v.feedback.Corruption), labels...)
	}
}

func bit(v bool) float64 {
	if v {
		return 1
	}
	return 0
}
