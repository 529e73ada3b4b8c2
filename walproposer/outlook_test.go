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
	gauge := func(name string) float64 {
		families, err := p.reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == "walhaven_walproposer_"+name {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		t.Fatalf("no metric %s", name)
		return 0
	}
	require.Eventually(t, func() bool { return gauge("postgres_disk_free_bytes") != 0 }, patience, 10*time.Millisecond)
	w.keepers[0].down()
	w.keepers[1].down()
	w.exec("SET synchronous_commit = local; INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 10000) i")
	require.Eventually(t, func() bool { return gauge("postgres_wal_bytes_per_second") > 0 }, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		status := p.Status()
		return status.State == "waiting" && strings.Contains(status.Reason, "WAL has been waiting for a quorum for ") &&
			strings.Contains(status.Reason, "PostgreSQL keeps the WAL for ") &&
			strings.Contains(status.Reason, "until its slot is given up (max_slot_wal_keep_size)")
	}, patience, 10*time.Millisecond, "%s", p.Status().Reason)
	lasts := gauge("postgres_wal_lasts_seconds")
	rate := gauge("postgres_wal_bytes_per_second")
	require.Greater(t, lasts, 0.0)
	require.Less(t, lasts*rate, float64(limited), "of 64 MiB, and what PostgreSQL adds to them")
	require.NotEqual(t, float64(unlimited), gauge("slot_headroom_bytes"))
	t.Log(p.Status().Reason)
}
