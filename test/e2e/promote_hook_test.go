package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/test/cluster"
)

// prePromote runs Patroni's hook as Patroni does, on a standby.
func prePromote(t *testing.T, c *cluster.Cluster, standby *compute.Server, env ...string) (string, int) {
	t.Helper()
	psql, err := standby.Tool(context.Background(), "psql")
	require.NoError(t, err)
	conninfo, err := standby.QueryValue(context.Background(), "SHOW primary_conninfo")
	require.NoError(t, err)
	script, err := filepath.Abs("../../deploy/patroni/pre_promote.sh")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "sh", script)
	cmd.Env = append(psql.Environ(), "PSQL="+psql.Path, "WALHAVEN="+filepath.Join(cluster.Programs(t), "walhaven"),
		"WALHAVEN_CLUSTER="+c.Dir(), "WALHAVEN_SAFEKEEPERS="+conninfo+" dbname=replication", "WALHAVEN_WAIT=60")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// safeToPromote asks over HTTP.
func safeToPromote(t *testing.T, c *cluster.Cluster, lsn string) map[string]*string {
	t.Helper()
	code, body := cluster.Get(t, "http://"+c.Safekeepers[0].HTTP+"/v1/safe_to_promote?lsn="+url.QueryEscape(lsn))
	require.Equal(t, http.StatusOK, code, body)
	var rows []map[string]*string
	require.NoError(t, json.Unmarshal([]byte(body), &rows))
	require.Len(t, rows, 1)
	return rows[0]
}

// TestPatroniHook loses the primary and asks, as Patroni does, whether a standby may
// be promoted: no before anything was settled, for one that would not wait for the
// quorum, and without a majority; yes when everything acknowledged is there.
func TestPatroniHook(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	standby, careless := c.WarmStandby("walhaven"), c.WarmStandby("")
	w := c.StartWriter(2)
	w.Await(50)
	answer := safeToPromote(t, c, "FF/0")
	require.Equal(t, "f", *answer["safe"], "the primary lives")
	require.NoError(t, c.Server.Kill())
	c.Kill("walproposer")
	w.Stop()
	answer = safeToPromote(t, c, "FF/0")
	require.Equal(t, "f", *answer["safe"], "nothing was settled: %v", answer)
	require.NotEmpty(t, *answer["reason"])
	require.Contains(t, *answer["hint"], "--sync-only")

	out, code := prePromote(t, c, careless)
	require.NotZero(t, code, out)
	require.Contains(t, out, "commits would return without the quorum")

	out, code = prePromote(t, c, standby)
	require.Zero(t, code, out)
	require.Contains(t, out, "safe: this server has replayed up to")
	answer = safeToPromote(t, c, "0/1000000")
	require.Equal(t, "f", *answer["safe"])
	require.Contains(t, *answer["reason"], "lacks acknowledged WAL")
	require.Equal(t, "t", *safeToPromote(t, c, *answer["sync_lsn"])["safe"])
	slots, err := standby.QueryValue(ctx, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'walhaven' AND restart_lsn IS NOT NULL")
	require.NoError(t, err)
	require.Equal(t, "1", slots)
	require.Zero(t, w.Lost(standby))

	c.Kill("safekeeper-2")
	c.Kill("safekeeper-3")
	answer = safeToPromote(t, c, "FF/0")
	require.Equal(t, "f", *answer["safe"], "a minority does not know")
	out, code = prePromote(t, c, standby, "WALHAVEN_WAIT=1")
	require.NotZero(t, code, out)
	require.Contains(t, out, "cannot be settled")
	_, code = c.Walhaven("failover", "--sync-only", "--timeout", "5s")
	require.Equal(t, 5, code)
}

// TestPatroniCallback starts and stops the unit by the role.
func TestPatroniCallback(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs("../../deploy/patroni/callback.sh")
	require.NoError(t, err)
	for call, want := range map[[2]string]string{
		{"on_role_change", "primary"}: "start walhaven-walproposer\n",
		{"on_role_change", "master"}:  "start walhaven-walproposer\n",
		{"on_role_change", "replica"}: "stop walhaven-walproposer\n",
		{"on_start", "primary"}:       "start walhaven-walproposer\n",
		{"on_start", "replica"}:       "stop walhaven-walproposer\n",
		{"on_stop", "primary"}:        "stop walhaven-walproposer\n",
	} {
		cmd := exec.CommandContext(t.Context(), "sh", script, call[0], call[1], "batman")
		cmd.Env = append(os.Environ(), "SYSTEMCTL=echo")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Equal(t, want, string(out), "%v", call)
	}
}
