package walproposer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
)

// While no quorum takes WAL PostgreSQL keeps it: an operator is told for how long
// it can, by /readyz, metrics and log.
func TestQuorumLostSaysHowLongPostgreSQLLasts(t *testing.T) {
	t.Parallel()
	const unlimited, limited = -1, 96 << 20
	w := newWorld(t, computetest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "64MB"}})
	p := w.propose(w.options())
	p.streams()
	gauges := func() map[string]float64 {
		families, err := p.reg.Gather()
		require.NoError(t, err)
		all := map[string]float64{}
		for _, f := range families {
			all[strings.TrimPrefix(f.GetName(), "walhaven_walproposer_")] = f.GetMetric()[0].GetGauge().GetValue()
		}
		return all
	}
	require.Eventually(t, func() bool { return gauges()["postgres_disk_free_bytes"] != 0 }, patience, 10*time.Millisecond)
	w.keepers[0].down()
	w.keepers[1].down()
	w.exec("SET synchronous_commit = local; INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 10000) i")
	// One look's figures may stand beside the one's before for a moment.
	var now map[string]float64
	require.Eventually(t, func() bool {
		now = gauges()
		lasts, rate := now["postgres_wal_lasts_seconds"], now["postgres_wal_bytes_per_second"]
		return rate > 0 && lasts > 0 && lasts*rate < limited // of 64 MiB, and what PostgreSQL adds to them
	}, patience, 10*time.Millisecond)
	require.NotEqual(t, float64(unlimited), now["slot_headroom_bytes"])
	require.Eventually(t, func() bool {
		status := p.Status()
		return status.State == "waiting" && strings.Contains(status.Reason, "WAL has been waiting for a quorum for ") &&
			strings.Contains(status.Reason, "PostgreSQL keeps the WAL for ") &&
			strings.Contains(status.Reason, "until its slot is given up (max_slot_wal_keep_size)")
	}, patience, 10*time.Millisecond, "%s", p.Status().Reason)
	t.Log(p.Status().Reason)
}
