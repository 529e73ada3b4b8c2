package operator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/conninfo"
)

// A failover takes the old primary for dead when nobody answers, and only then: who
// refuses the password lives, and a cluster file that says 127.0.0.1 names the
// standby itself on the standby's machine.
func TestFailoverWhoIsDead(t *testing.T) {
	ctx := t.Context()
	server := computetest.New(t, computetest.Options{Password: "right"})
	require.NoError(t, server.Stop(ctx, compute.Fast))
	require.NoError(t, os.WriteFile(filepath.Join(server.DataDir(), "standby.signal"), nil, 0o666))
	require.NoError(t, server.Start(ctx, compute.StartOptions{}))
	var said strings.Builder
	f := &failover{local: &local{out: &said, Cluster: &Cluster{Attached: &Attachment{Admin: server.Conninfo()}}}}
	var err error
	f.pg, err = connectAdmin(ctx, server.Conninfo(), f.say)
	require.NoError(t, err)
	t.Cleanup(f.pg.close)
	f.facts, err = f.pg.one(ctx, strings.ReplaceAll(standbyFacts, "%s", "''"))
	require.NoError(t, err)
	require.Equal(t, "t", f.facts["standby"])

	require.ErrorIs(t, f.checkOldPrimary(ctx), errItself)
	f.facts["started"] = "1"
	require.NoError(t, f.checkOldPrimary(ctx), "another standby is no primary")
	require.Contains(t, said.String(), "a standby")

	there, err := conninfo.Parse(server.Conninfo())
	require.NoError(t, err)
	there["password"] = "wrong"
	f.Attached.Admin = conninfo.Format(there)
	err = f.checkOldPrimary(ctx)
	require.ErrorContains(t, err, "not certain")
	require.ErrorContains(t, err, "28P01")
	f.o.Yes = true
	require.NoError(t, f.checkOldPrimary(ctx))

	f.o.Yes = false
	there["port"] = "1"
	f.Attached.Admin = conninfo.Format(there)
	require.NoError(t, f.checkOldPrimary(ctx), "nobody answers")
	require.NotContains(t, said.String(), "wrong")
}
