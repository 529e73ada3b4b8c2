package pgdata_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/wal"
)

const patience = 60 * time.Second

// controldata is what pg_controldata says, nil where a reduced installation does
// not have it.
func controldata(t *testing.T, s *compute.Server) map[string]string {
	t.Helper()
	cmd, err := s.Tool(t.Context(), "pg_controldata", "-D", s.DataDir())
	if err != nil {
		t.Logf("not compared with pg_controldata: %v", err)
		return nil
	}
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	fields := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	return fields
}

func lsn(t *testing.T, text string) wal.LSN {
	t.Helper()
	l, err := wal.ParseLSN(text)
	require.NoError(t, err)
	return l
}

// A stopped directory is read as PostgreSQL's own tool reads it, and WAL is found
// up to the last record.
func TestStoppedDirectories(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	s := computetest.New(t, computetest.Options{})
	require.NoError(t, s.Exec(ctx, "SELECT pg_create_physical_replication_slot('walhaven', true)"))
	reserved, err := s.QueryValue(ctx, "SELECT restart_lsn FROM pg_replication_slots")
	require.NoError(t, err)
	_, err = pgdata.Open(s.DataDir(), "walhaven")
	require.ErrorIs(t, err, pgdata.ErrRunning)

	require.NoError(t, s.Exec(ctx, "CREATE TABLE t AS SELECT generate_series(1, 100000) AS i; SELECT pg_switch_wal(); INSERT INTO t VALUES (1)"))
	require.NoError(t, s.Stop(ctx, compute.Fast))
	// Its machine crashed, and the number is another program's now.
	left := filepath.Join(s.DataDir(), "postmaster.pid")
	require.NoError(t, os.WriteFile(left, fmt.Appendln(nil, os.Getpid()), 0o600))
	d, err := pgdata.Open(s.DataDir(), "walhaven")
	require.NoError(t, err)
	require.NoError(t, os.Remove(left))
	if c := controldata(t, s); c != nil {
		require.Equal(t, c["Database system identifier"], d.SystemID.String())
		require.Equal(t, lsn(t, c["Latest checkpoint location"]), d.Checkpoint)
		require.Equal(t, lsn(t, c["Latest checkpoint's REDO location"]), d.Redo)
		require.Equal(t, "16777216", c["Bytes per WAL segment"])
	}
	require.Equal(t, wal.DefaultSegmentSize, d.SegmentSize)
	require.Equal(t, pgdata.ShutDown, d.State)
	require.Equal(t, lsn(t, reserved), d.Confirmed)
	require.Greater(t, d.End, d.Checkpoint)
	require.Less(t, d.End, d.Checkpoint+300, "the shutdown checkpoint is the last record")
	require.LessOrEqual(t, d.Oldest, d.Confirmed)
	require.False(t, d.Standby || d.Recovery || d.BackupStart != 0)

	// A crash leaves what was flushed behind the last checkpoint.
	require.NoError(t, s.Start(ctx, compute.StartOptions{}))
	require.NoError(t, s.Exec(ctx, "INSERT INTO t SELECT generate_series(1, 100000); SELECT pg_switch_wal(); INSERT INTO t VALUES (2)"))
	flushed, err := s.QueryValue(ctx, "SELECT pg_current_wal_flush_lsn()")
	require.NoError(t, err)
	require.NoError(t, s.Kill())
	d, err = pgdata.Open(s.DataDir(), "none")
	require.NoError(t, err)
	require.NotEqual(t, pgdata.ShutDown, d.State)
	require.GreaterOrEqual(t, d.End, lsn(t, flushed))
	require.Zero(t, d.Confirmed)

	// Without its last segment it ends where that began, inside a record or not.
	name := d.SegmentSize.FileName(d.TLI, d.SegmentSize.SegmentNo(d.End))
	require.NoError(t, os.Remove(filepath.Join(d.Path, "pg_wal", name)))
	cut, err := pgdata.Open(s.DataDir(), "none")
	require.NoError(t, err)
	require.LessOrEqual(t, cut.End, d.SegmentSize.SegmentStart(d.End))
	buf := make([]byte, 100)
	_, err = cut.ReadAt(buf, cut.End)
	require.Error(t, err)
	n, err := cut.ReadAt(buf, cut.Redo)
	require.NoError(t, err)
	require.Positive(t, n)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n"))
	f.Add(make([]byte, 8192))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := pgdata.ParseControl(b); err == nil {
			require.LessOrEqual(t, c.Redo, c.Checkpoint)
			require.LessOrEqual(t, len(c.Raw), len(b))
		}
		if l, err := pgdata.ParseLabel(b); err == nil {
			require.NotZero(t, l.Start)
		}
		_, _ = pgdata.ParseSlot(b)
	})
}

// TestLabels: pg_basebackup's has a line for the timeline, pg_rewind's (createBackupLabel
// in src/bin/pg_rewind/pg_rewind.c) has not.
func TestLabels(t *testing.T) {
	for name, content := range map[string]string{
		"pg_basebackup": "START WAL LOCATION: 0/2000028 (file 000000030000000000000002)\nCHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\n" +
			"BACKUP FROM: primary\nSTART TIME: 2026-03-01 10:42:04 UTC\nLABEL: pg_basebackup base backup\nSTART TIMELINE: 3\n",
		"pg_rewind": "START WAL LOCATION: 0/2000028 (file 000000030000000000000002)\nCHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: pg_rewind\n" +
			"BACKUP FROM: standby\nSTART TIME: 2026-03-01 10:42:04 UTC\n",
	} {
		l, err := pgdata.ParseLabel([]byte(content))
		require.NoError(t, err, name)
		require.Equal(t, pgdata.Label{Start: 0x2000028, TLI: 3}, l, name)
	}
	_, err := pgdata.ParseLabel([]byte("BACKUP METHOD: pg_rewind\n"))
	require.Error(t, err)
}
