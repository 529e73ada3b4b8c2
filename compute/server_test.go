package compute_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/wal"
)

func TestServerLifeWithPassword(t *testing.T) {
	server := computetest.New(t, computetest.Options{
		SegmentSize: wal.MinSegmentSize, DataChecksums: true, Password: `it's a \ : secret`,
		Settings: map[string]string{"application_name": "it's"},
	})
	ctx := t.Context()

	require.NotZero(t, server.PID())
	require.ErrorIs(t, server.Start(ctx, compute.StartOptions{}), compute.ErrRunning)
	for query, want := range map[string]string{
		"SHOW wal_segment_size": "1MB",
		"SHOW data_checksums":   "on",
		"SHOW application_name": "it's",
		"SELECT NULL::text":     "",
		"SELECT 1; SELECT 2":    "2",
	} {
		got, err := server.QueryValue(ctx, query)
		require.NoError(t, err, query)
		require.Equal(t, want, got, query)
	}
	got, err := server.Psql(ctx, "-c", "SELECT 'x', 1")
	require.NoError(t, err)
	require.Equal(t, "x|1", got)
	_, err = server.Psql(ctx, "-c", "SELECT nothing")
	require.ErrorContains(t, err, `column "nothing" does not exist`)

	require.NoError(t, server.Set(ctx, map[string]string{"work_mem": "5MB"}))
	got, err = server.QueryValue(ctx, "SHOW work_mem")
	require.NoError(t, err)
	require.Equal(t, "5MB", got)

	require.NoError(t, server.Restart(ctx, compute.Fast, compute.StartOptions{}))
	got, err = server.QueryValue(ctx, "SHOW work_mem")
	require.NoError(t, err)
	require.Equal(t, "5MB", got, "settings survive a restart")

	info, err := os.Stat(server.PassFile())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NotContains(t, server.Conninfo(), "secret")
}

func TestKillLosesNothingCommittedAndLeavesNoProcess(t *testing.T) {
	server := computetest.New(t, computetest.Options{})
	ctx := t.Context()
	require.NoError(t, server.Exec(ctx, "CREATE TABLE t AS SELECT generate_series(1, 1000) n"))

	done := server.Done()
	pid := server.PID()
	require.NoError(t, server.Kill())
	<-done
	require.Zero(t, server.PID())
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	require.NoError(t, server.Kill(), "killing twice is no error")
	require.NoError(t, server.Stop(ctx, compute.Fast), "stopping what does not run is no error")
	require.ErrorIs(t, server.Signal(syscall.SIGHUP, false), compute.ErrNotRunning)

	require.NoError(t, server.Start(ctx, compute.StartOptions{}))
	n, err := server.QueryValue(ctx, "SELECT count(*) FROM t")
	require.NoError(t, err)
	require.Equal(t, "1000", n)
}

func TestStartTellsWhyItFailed(t *testing.T) {
	server := computetest.New(t, computetest.Options{NoStart: true, Settings: map[string]string{"shared_buffers": "lots"}})
	err := server.Start(t.Context(), compute.StartOptions{})
	require.ErrorContains(t, err, `invalid value for parameter "shared_buffers"`)
	require.Zero(t, server.PID())
}

func TestStartEndsWithItsContext(t *testing.T) {
	server := computetest.New(t, computetest.Options{NoStart: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, server.Start(ctx, compute.StartOptions{}), context.Canceled)
	require.Zero(t, server.PID(), "no server is left half started")
	require.NoError(t, server.Start(t.Context(), compute.StartOptions{}))
}

func TestStartTakesAnotherPortWhenItsOwnIsTaken(t *testing.T) {
	first := computetest.New(t, computetest.Options{})
	second := computetest.New(t, computetest.Options{NoStart: true})
	require.NoError(t, second.Set(t.Context(), map[string]string{"port": first.Setting("port")}))
	require.NoError(t, second.Start(t.Context(), compute.StartOptions{}))
	require.NotEqual(t, first.Port(), second.Port())
	require.NoError(t, second.Exec(t.Context(), "SELECT 1"))
}

func TestBaseBackupRunsAsAServerOfItsOwn(t *testing.T) {
	server := computetest.New(t, computetest.Options{})
	ctx := t.Context()
	require.NoError(t, server.Exec(ctx, "CREATE TABLE t AS SELECT 42 AS n"))
	dir := filepath.Join(computetest.TempDir(t), "copy")
	require.NoError(t, server.BaseBackup(ctx, dir))

	received := filepath.Join(computetest.TempDir(t), "wal")
	receiver, err := server.ReceiveWAL(ctx, received, "--no-loop")
	require.NoError(t, err)
	// The backup ended with a switch of segments: an idle server sends nothing.
	require.NoError(t, server.Exec(ctx, "INSERT INTO t VALUES (43)"))
	require.Eventually(t, func() bool {
		files, _ := filepath.Glob(filepath.Join(received, "*.partial"))
		return len(files) == 1
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, receiver.Stop(time.Minute))

	clone := computetest.Open(t, server.Install(), dir, map[string]string{"cluster_name": "clone"})
	require.NoError(t, clone.WriteFile("standby.signal", nil))
	require.NoError(t, clone.Start(ctx, compute.StartOptions{}))
	n, err := clone.QueryValue(ctx, "SELECT n FROM t WHERE n = 42 AND pg_is_in_recovery()")
	require.NoError(t, err)
	require.Equal(t, "42", n)
	require.NotEqual(t, server.Port(), clone.Port())
	require.Error(t, clone.WriteFile("../x", nil))
}

func TestOpenFindsAServerThatAnotherStarted(t *testing.T) {
	server := computetest.New(t, computetest.Options{})
	other, err := compute.Open(compute.OpenOptions{Install: server.Install(), DataDir: server.DataDir()})
	require.NoError(t, err)
	require.Equal(t, server.PID(), other.PID())
	require.Equal(t, server.Conninfo(), other.Conninfo())
	require.NoError(t, other.Exec(t.Context(), "SELECT 1"))
	require.ErrorIs(t, other.Remove(), compute.ErrRunning)
	require.NoError(t, other.Stop(t.Context(), compute.Fast))
	require.Zero(t, server.PID())
	require.NoError(t, other.Remove())
	require.NoFileExists(t, server.LogFile())
}
