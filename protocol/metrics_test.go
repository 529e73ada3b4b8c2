package protocol_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
)

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	addr, stop := serveUntil(t, newTestHandler(t), protocol.Options{
		MaxConnections: 1, Metrics: protocol.NewMetrics(registry, "safekeeper"),
	})
	c := dialRaw(t, addr)
	c.start()
	c.query("FAIL")
	c.query("SHOW TIMELINES")
	c.query("xyzzy")
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
	families, err := registry.Gather()
	require.NoError(t, err)
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	require.Equal(t, map[string]float64{
		"walhaven_safekeeper_connections":                              1,
		"walhaven_safekeeper_connections_accepted_total":               1,
		"walhaven_safekeeper_connections_refused_total authentication": 0,
		"walhaven_safekeeper_connections_refused_total limit":          0,
		"walhaven_safekeeper_connections_refused_total waiting":        0,
		"walhaven_safekeeper_command_errors_total 55":                  1,
		"walhaven_safekeeper_command_errors_total 0A":                  1,
		"walhaven_safekeeper_command_duration_seconds show":            1,
		"walhaven_safekeeper_command_duration_seconds other":           2,
	}, values)
	stop()
}
