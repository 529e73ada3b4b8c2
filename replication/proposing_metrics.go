package replication

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// ProposingMetrics measures what a commit waits for between the queue and the
// quorum.
type ProposingMetrics struct {
	publishToCommit prometheus.Histogram
	quorumWait      prometheus.Histogram
}

// CommitBuckets are the bounds in seconds of histograms of waits that a commit
// sits in: 2 us to 28 s.
func CommitBuckets() []float64 { return prometheus.ExponentialBuckets(2e-6, 1.6, 36) }

// NewProposingMetrics registers the metrics with reg, which may be nil.
func NewProposingMetrics(reg prometheus.Registerer) *ProposingMetrics {
	f := promauto.With(reg)
	return &ProposingMetrics{
		publishToCommit: f.NewHistogram(prometheus.HistogramOpts{
			Name: "walhaven_walproposer_publish_to_commit_seconds", Buckets: CommitBuckets(),
			Help: "Time from WAL being published in the queue to its being committed by the quorum.",
		}),
		quorumWait: f.NewHistogram(prometheus.HistogramOpts{
			Name: "walhaven_walproposer_quorum_wait_seconds", Buckets: CommitBuckets(),
			Help: "Time from the first safekeeper's acknowledgement of a position to the quorum's.",
		}),
	}
}

func (m *ProposingMetrics) observePublishToCommit(d time.Duration) {
	if m != nil {
		m.publishToCommit.Observe(d.Seconds())
	}
}

func (m *ProposingMetrics) observeQuorumWait(d time.Duration) {
	if m != nil {
		m.quorumWait.Observe(d.Seconds())
	}
}
