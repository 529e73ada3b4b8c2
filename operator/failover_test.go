package operator

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/postmaster"
	"github.com/walhaven/walhaven/internal/syncrep"
)

// A name in synchronous_standby_names that was set just now, by somebody else or
// by a failover that was interrupted, is not trusted before the checkpointer has
// read it: sessions see it, and yet their commits do not wait.
func TestFailoverTrustsOnlyNamesInForce(t *testing.T) {
	server := computetest.New(t, computetest.Options{})
	ctx := t.Context()
	f := &failover{local: &local{out: t.Output(), Cluster: &Cluster{}}, facts: map[string]string{"slot": ""}}
	f.o.To = server.Conninfo()
	admin := func() *pgAdmin {
		pg, err := connectAdmin(ctx, server.Conninfo(), f.say)
		require.NoError(t, err)
		t.Cleanup(pg.close)
		return pg
	}
	other := admin()
	row, err := other.one(ctx, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
	require.NoError(t, err)
	checkpointer, err := strconv.Atoi(row["pid"])
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(checkpointer, syscall.SIGSTOP)) // As one that is busy writing.
	goOn := func() { _ = syscall.Kill(checkpointer, syscall.SIGCONT) }
	t.Cleanup(goOn)
	require.NoError(t, other.change(ctx, "ALTER SYSTEM SET synchronous_standby_names = 'walhaven'"))
	require.NoError(t, other.reload(ctx))
	require.NoError(t, f.awaitNames(ctx))
	f.pg, f.names = admin(), syncrep.List{Count: 1, Names: []string{standbyName}}

	prepared := make(chan error, 1)
	go func() { prepared <- f.prepareStandby(ctx) }()
	require.Eventually(t, func() bool {
		row, err := other.one(ctx, "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' AND query = 'CHECKPOINT'")
		return err == nil && row["n"] == "1"
	}, time.Minute, 10*time.Millisecond, "nothing waits for the checkpointer")
	require.Empty(t, prepared)
	goOn()
	require.NoError(t, <-prepared)
}

// A server on another machine is not taken for the one whose data directory has
// the same name here, which is the standby's by default.
func TestServerElsewhereHasNoPIDHere(t *testing.T) {
	server := computetest.New(t, computetest.Options{})
	pg, err := connectAdmin(t.Context(), server.Conninfo(), func(string, ...any) {})
	require.NoError(t, err)
	t.Cleanup(pg.close)
	require.Equal(t, server.PID(), localPID(t.Context(), pg, server.DataDir()))

	standby := t.TempDir()
	inside := exec.Command("sleep", "infinity")
	inside.Dir = standby
	require.NoError(t, inside.Start())
	t.Cleanup(func() { require.Error(t, errors.Join(inside.Process.Kill(), inside.Wait())) })
	content := strconv.Itoa(inside.Process.Pid) + "\n" + standby + "\n1732000000\n5432\n"
	require.NoError(t, os.WriteFile(filepath.Join(standby, "postmaster.pid"), []byte(content), 0o600))
	require.Equal(t, inside.Process.Pid, postmaster.PID(standby), "a server runs there")
	require.Zero(t, localPID(t.Context(), pg, standby))
}

// The error about an old primary that cannot be asked does not repeat a password.
func TestSwitchoverPrintsNoPassword(t *testing.T) {
	f := &failover{o: FailoverOptions{From: "host=127.0.0.1 port=1 user=boss password=geheim dbname=postgres"}, local: &local{out: t.Output()}}
	err := f.findOldPrimary(t.Context())
	require.Error(t, err)
	var why program.Explainer
	require.ErrorAs(t, err, &why)
	detail, _ := why.Explain()
	require.Contains(t, detail, "port=1")
	require.NotContains(t, detail, "geheim")
}
