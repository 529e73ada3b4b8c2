package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// step is a part of a workload.
type step func(b *testing.B, s *compute.Server) error

func pgbench(args ...string) step {
	return func(b *testing.B, s *compute.Server) error {
		_, err := s.Pgbench(b.Context(), args...)
		return err
	}
}

// insertRows fills a table row by row, a record for each, and indexes it.
func insertRows(b *testing.B, s *compute.Server) error {
	return errors.Join(
		s.Exec(b.Context(), "CREATE TABLE bulk (i int, v text)"),
		s.Exec(b.Context(), "INSERT INTO bulk SELECT i, repeat(md5(i::text), 3) FROM generate_series(1, 1200000) i"),
		s.Exec(b.Context(), "CREATE INDEX ON bulk (i)"),
	)
}

// BenchmarkIngest turns real WAL into durable layers: of pgbench's transactions,
// of loading its tables by COPY, and of inserting rows one by one. cpu-ns/B is what
// one byte costs on all processors.
func BenchmarkIngest(b *testing.B) {
	for name, workload := range map[string][]step{
		"pgbench": {pgbench("-i", "-q", "-s", "10"), pgbench("-c", "4", "-t", "20000", "-M", "prepared")},
		"copy":    {pgbench("-i", "-q", "-s", "40")},
		"rows":    {insertRows},
	} {
		b.Run(name, func(b *testing.B) {
			w := recordWAL(b, workload)
			b.SetBytes(w.bytes)
			b.ResetTimer()
			before := cpuTime()
			for b.Loop() {
				w.ingest(b)
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N)/float64(w.bytes), "cpu-ns/B")
		})
	}
}

func cpuTime() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// recorded is WAL from some record on.
type recorded struct {
	major    int
	start    wal.LSN
	control  control
	segments [][]byte // the first one from start on
	bytes    int64
}

const benchSegment = wal.SegmentSize(16 << 20)

// recordWAL runs a workload, of which the last step's WAL counts.
func recordWAL(b *testing.B, workload []step) *recorded {
	b.Helper()
	ctx := b.Context()
	server := computetest.New(b, computetest.Options{Settings: map[string]string{
		"wal_keep_size": "20GB", "max_wal_size": "20GB", "synchronous_commit": "off", "shared_buffers": "128MB", "autovacuum": "off",
	}})
	w := &recorded{major: server.Install().Version.Major}
	for i, run := range workload {
		if i == len(workload)-1 {
			require.NoError(b, server.Exec(ctx, "CHECKPOINT"))
			w.start = computetest.LSN(b, server, "select redo_lsn from pg_control_checkpoint()")
		}
		require.NoError(b, run(b, server))
	}
	require.NoError(b, server.Stop(ctx, compute.Fast))
	raw := readFile(b, filepath.Join(server.DataDir(), "global/pg_control"))
	var err error
	w.control, err = parseControl(raw)
	require.NoError(b, err)
	end := wal.LSN(binary.LittleEndian.Uint64(w.control[pgdata.ControlCheckPoint:]))
	for _, name := range walFolder(b, server.DataDir()) {
		_, no, err := benchSegment.ParseFileName(name)
		require.NoError(b, err)
		from := benchSegment.Start(no)
		if from+wal.LSN(benchSegment) <= w.start || from > end {
			continue
		}
		content := readFile(b, filepath.Join(server.DataDir(), "pg_wal", name))
		content = content[max(w.start, from)-from : min(end, from+wal.LSN(benchSegment))-from]
		w.segments = append(w.segments, content)
		w.bytes += int64(len(content))
	}
	return w
}

// ingest makes durable layers of all of it.
func (w *recorded) ingest(b *testing.B) {
	b.Helper()
	s, tl := newStore(b, b.TempDir(), w.start-1, pagestore.Options{})
	base(b, tl, w.start, w.control)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	in, err := New(ctx, tl, Options{PGVersion: uint32(w.major), SegmentSize: benchSegment})
	require.NoError(b, err)
	at := w.start
	for _, segment := range w.segments {
		for len(segment) > 0 {
			n := min(len(segment), 1<<20)
			if err := in.Feed(ctx, at, segment[:n]); err != nil {
				require.True(b, walrecord.IsEnd(err), "%v", err)
			}
			at, segment = at+wal.LSN(n), segment[n:]
		}
	}
	require.NoError(b, tl.Flush(ctx))
	b.ReportMetric(float64(tl.Info().LayerBytes)/float64(w.bytes), "layer-B/B")
	cancel()
	require.NoError(b, <-done)
	require.NoError(b, s.Close())
}
