package walrecord

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/wal"
)

// liveSettings keep all WAL and bring out every kind of record.
var liveSettings = map[string]string{
	"wal_level": "logical", "max_prepared_transactions": "20", "wal_keep_size": "2GB",
	"wal_compression": "on", "track_commit_timestamp": "on", "wal_log_hints": "on",
	"max_wal_size": "1GB",
}

// TestAgainstPostgreSQL lets each server on this machine write WAL, and compares
// every record with what the server's own reader says of it: pg_waldump of the
// same version, or the extension pg_walinspect. Where there is neither, every
// record has to be proved and known.
func TestAgainstPostgreSQL(t *testing.T) {
	computetest.EachServer(t, os.Getenv("WALHAVEN_PG_BIN") == "", againstServer)
}

func againstServer(t *testing.T, install compute.Install) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	server := computetest.New(t, computetest.Options{
		Major: install.Version.Major, SegmentSize: wal.MinSegmentSize, Settings: liveSettings,
	})
	_, err := server.QueryValue(ctx, "select pg_switch_wal()")
	require.NoError(t, err)
	require.NoError(t, server.Exec(ctx, "checkpoint"))
	begin := liveLSN(t, ctx, server)
	runWorkload(t, ctx, server)
	end := liveLSN(t, ctx, server)

	f := openFolder(t, filepath.Join(server.DataDir(), "pg_wal"))
	f.skipTo(begin)
	var stats Stats
	lines, reached := dumpFolder(t, f, &stats)
	require.GreaterOrEqual(t, reached, end)
	require.Greater(t, len(lines), 10_000)
	t.Logf("%s: %d records up to %s", install.Version, len(lines), reached)

	if program := filepath.Join(install.BinDir, "pg_waldump"); install.Version.Major == 15 && executable(program) {
		compareWithWaldump(t, program, f)
	}
	if install.Version.Major >= 15 {
		compareWithWalinspect(t, ctx, server, f, begin, end)
	}
	require.NoError(t, server.Stop(ctx, compute.Fast))
	_, reached = dumpFolder(t, f, &Stats{})
	require.Greater(t, reached, end, "the shutdown checkpoint")
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

// liveLSN is the end of WAL, all of which is written to files afterwards.
func liveLSN(t *testing.T, ctx context.Context, server *compute.Server) wal.LSN {
	t.Helper()
	_, err := server.QueryValue(ctx, "select pg_logical_emit_message(true, 'flush', '')")
	require.NoError(t, err)
	return computetest.LSN(t, server, "select pg_current_wal_flush_lsn()")
}

func runWorkload(t *testing.T, ctx context.Context, server *compute.Server) {
	t.Helper()
	workload, err := os.ReadFile("testdata/workload.sql")
	require.NoError(t, err)
	// The server's account may not be allowed to read the source tree.
	script := filepath.Join(computetest.TempDir(t), "workload.sql")
	require.NoError(t, os.WriteFile(script, workload, 0o644))
	_, err = server.Psql(ctx, "-f", script)
	require.NoError(t, err)
	if _, err := server.Pgbench(ctx, "-i", "-q", "-s", "1"); err == nil {
		_, err = server.Pgbench(ctx, "-n", "-c", "2", "-t", "100")
		require.NoError(t, err)
	}
}

// skipTo drops the segments before the one that holds at.
func (f *folder) skipTo(at wal.LSN) {
	for len(f.segments) > 1 && f.segments[1].start <= at {
		f.segments = f.segments[1:]
	}
}

var blockRef = regexp.MustCompile(`blkref #(\d+): rel (\d+/\d+/\d+) fork (\w+) blk (\d+)`)

// compareWithWalinspect checks positions (end positions included), sizes, names
// and block references of the records between two record ends.
func compareWithWalinspect(t *testing.T, ctx context.Context, server *compute.Server, f folder, begin, end wal.LSN) {
	t.Helper()
	if err := server.Exec(ctx, "create extension pg_walinspect"); err != nil {
		t.Logf("not compared with pg_walinspect: %v", err)
		return
	}
	rows, err := server.Query(ctx, fmt.Sprintf(`select start_lsn, end_lsn, prev_lsn, xid, resource_manager, record_type,
		record_length, main_data_length, fpi_length, coalesce(block_ref, '')
		from pg_get_wal_records_info('%s', '%s')`, begin, end))
	require.NoError(t, err)
	require.Greater(t, len(rows), 10_000)

	var rec Record
	n := 0
	var r *Reader
	r = NewReader(ScannerOptions{Start: f.segments[0].start, SegmentSize: f.size}, func(start, recEnd wal.LSN, b []byte) error {
		if start < begin || n == len(rows) {
			return nil
		}
		rec.Major = r.Major()
		if err := Decode(b, start, recEnd, &rec); err != nil {
			return err
		}
		require.Equal(t, walinspectRow(rows[n]), recordRow(&rec), "record %d", n)
		n++
		return nil
	})
	if err := f.scan(t, r.Feed); err != nil {
		require.True(t, IsEnd(err), "%v", err)
	}
	require.Equal(t, len(rows), n)
	t.Logf("%d records agree with pg_walinspect", n)
}

// walinspectRow brings the forms of block references in different versions
// together.
func walinspectRow(row []string) string {
	var refs []string
	for _, m := range blockRef.FindAllStringSubmatch(row[9], -1) {
		refs = append(refs, strings.Join(m[1:], " "))
	}
	return strings.Join(append(row[:9:9], refs...), "|")
}

func recordRow(r *Record) string {
	cols := []string{
		r.Start.String(), r.End.String(), r.Prev.String(), fmt.Sprint(r.XID), RmgrName(r.RMID), Identify(r),
		fmt.Sprint(r.Length), fmt.Sprint(len(r.MainData)), fmt.Sprint(r.FPILength()),
	}
	for _, b := range r.Blocks {
		cols = append(cols, fmt.Sprintf("%d %s %s %d", b.ID, b.Rel, b.Fork, b.Block))
	}
	return strings.Join(cols, "|")
}
