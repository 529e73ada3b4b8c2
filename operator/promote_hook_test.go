package operator

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
)

// Patroni's hook leaves a server behind whose walproposer can start and whose
// commits wait: a slot that has lost its WAL is made again, and a name that was set
// just now is not trusted before the checkpointer has read it. What the safekeepers
// say is TestPatroniHook's; here none answers, and one of them hangs.
func TestPrePromotePreparesTheServer(t *testing.T) {
	ctx := t.Context()
	server := computetest.New(t, computetest.Options{Settings: map[string]string{
		"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB",
	}})
	loseSlot(t, server)
	value := func(sql string) string {
		t.Helper()
		v, err := server.QueryValue(ctx, sql)
		require.NoError(t, err)
		return v
	}
	const status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'walhaven'"
	require.Equal(t, "lost", value(status))

	checkpointer, err := strconv.Atoi(value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(checkpointer, syscall.SIGSTOP)) // As one that is busy writing.
	goOn := func() { _ = syscall.Kill(checkpointer, syscall.SIGCONT) }
	t.Cleanup(goOn)
	require.NoError(t, server.Exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = 'walhaven'"))
	require.NoError(t, server.Exec(ctx, "SELECT pg_reload_conf()"))
	require.Eventually(t, func() bool { return value("SHOW synchronous_standby_names") == "walhaven" }, time.Minute, 10*time.Millisecond)

	ended := make(chan string, 1)
	cmd := prePromote(ctx, t, server)
	go func() {
		out, err := cmd.CombinedOutput()
		ended <- string(out) + "\n" + errorText(err)
	}()
	require.Eventually(t, func() bool {
		return value("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'CHECKPOINT'") == "1"
	}, time.Minute, 10*time.Millisecond, "nothing waits for the checkpointer")
	require.Empty(t, ended)
	goOn()
	select {
	case said := <-ended:
		require.Contains(t, said, "not safe at", "no safekeeper answers")
	case <-time.After(2 * time.Minute):
		require.Fail(t, "it waits for a safekeeper that hangs")
	}
	require.Equal(t, "reserved", value(status))
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// loseSlot makes the walproposer's slot and has the server remove its WAL.
func loseSlot(t *testing.T, server *compute.Server) {
	t.Helper()
	require.NoError(t, server.Exec(t.Context(), "SELECT pg_create_physical_replication_slot('walhaven', true)"))
	for range 4 {
		require.NoError(t, server.Exec(t.Context(), "SELECT pg_logical_emit_message(true, 'x', 'x'), pg_switch_wal()"))
	}
	require.NoError(t, server.Exec(t.Context(), "CHECKPOINT"))
}

// prePromote is the hook on a server; settling the end of WAL is a program's that
// does nothing.
func prePromote(ctx context.Context, t *testing.T, server *compute.Server) *exec.Cmd {
	t.Helper()
	psql, err := server.Tool(ctx, "psql")
	require.NoError(t, err)
	const script = "../deploy/patroni/pre_promote.sh"
	require.FileExists(t, script)                    // Tells the cache of test results, too.
	hanging, err := net.Listen("tcp", "127.0.0.1:0") // The kernel takes connections, nobody else does.
	require.NoError(t, err)
	t.Cleanup(func() { _ = hanging.Close() })
	_, port, err := net.SplitHostPort(hanging.Addr().String())
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, "sh", script)
	cmd.Env = append(psql.Environ(), "PSQL="+psql.Path, "WALHAVEN=echo", "WALHAVEN_CLUSTER="+os.DevNull, "WALHAVEN_WAIT=0",
		"WALHAVEN_SAFEKEEPERS=host=127.0.0.1,127.0.0.1 port="+port+",1 dbname=replication")
	return cmd
}
