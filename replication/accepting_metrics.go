package replication

import "github.com/prometheus/client_golang/prometheus"

// AcceptingMetrics counts what all acceptors of one process do.
type AcceptingMetrics struct{}

// NewAcceptingMetrics registers the metrics with reg, which may be nil.
func NewAcceptingMetrics(reg prometheus.Registerer) *AcceptingMetrics { panic("todo") }
