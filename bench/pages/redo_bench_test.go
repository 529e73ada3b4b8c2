package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/pagekey"
)

// BenchmarkRedo applies records of the heap and of B-trees that pgbench wrote, as
// measureRedo does: decoded before, and as layers hold them.
func BenchmarkRedo(b *testing.B) {
	ctx := b.Context()
	server := computetest.New(b, computetest.Options{Settings: map[string]string{
		"wal_keep_size": "20GB", "max_wal_size": "20GB", "synchronous_commit": "off", "shared_buffers": "128MB", "autovacuum": "off",
	}})
	out, err := server.Pgbench(ctx, "-i", "-q", "-s", "5")
	require.NoError(b, err, out)
	require.NoError(b, server.Exec(ctx, "CHECKPOINT"))
	from := computetest.LSN(b, server, "SELECT redo_lsn FROM pg_control_checkpoint()")
	out, err = server.Pgbench(ctx, "-n", "-M", "prepared", "-c", "8", "-j", "2", "-t", "10000")
	require.NoError(b, err, out)
	steps, pages, err := collect(filepath.Join(server.DataDir(), "pg_wal"), from, server.Install().Version.Major)
	require.NoError(b, err)
	byPage(steps)
	require.NoError(b, gather(steps))
	var r pagekey.Replayer
	for name, f := range map[string]func(s *step) error{
		"decoded": applyRecord,
		"stored":  func(s *step) error { return r.Apply(s.page, s.stored, s.record.End) },
	} {
		b.Run(name, func(b *testing.B) {
			var perSecond, allocs float64
			for b.Loop() {
				perSecond, allocs, err = timeSteps(steps, pages, f)
				require.NoError(b, err)
			}
			b.ReportMetric(perSecond, "records/s")
			b.ReportMetric(allocs, "allocs/record")
		})
	}
}
