package protocol

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a Server.
type Metrics struct{}

// NewMetrics registers a server's metrics as walhaven_<program>_...; r may be nil.
func NewMetrics(r prometheus.Registerer, program string) *Metrics { return &Metrics{} }
