package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// TestAttachRefusesAndSaysWhy has attach meet servers that are not ready for it:
// it says what to do, and changes nothing.
func TestAttachRefusesAndSaysWhy(t *testing.T) {
	t.Parallel()
	a := newAttached(t, nil)
	require.NoError(t, a.pg.Exec(t.Context(), "ALTER SYSTEM SET log_checkpoints = on"))
	require.NoError(t, a.pg.Reload(t.Context()))
	hba, err := os.ReadFile(filepath.Join(a.pg.DataDir(), "pg_hba.conf"))
	require.NoError(t, err)
	setHBA := func(first string) {
		require.NoError(t, a.pg.WriteFile("pg_hba.conf", append([]byte(first), hba...)))
		require.NoError(t, a.pg.Reload(t.Context()))
	}
	set := func(name, value string) func() {
		return func() { require.NoError(t, a.pg.Set(t.Context(), map[string]string{name: value})) }
	}
	sql := func(statement string) func() {
		return func() { require.NoError(t, a.pg.Exec(t.Context(), "SET synchronous_commit = local; "+statement)) }
	}
	for name, c := range map[string]struct {
		spoil, mend func()
		says        string
	}{
		"pg_hba.conf": {
			func() { setHBA("host replication walhaven all reject\n") }, func() { setHBA("") },
			"and reload: host replication walhaven 127.0.0.1/32 scram-sha-256",
		},
		"full_page_writes":   {set("full_page_writes", "off"), set("full_page_writes", "on"), "FAILED   full_page_writes = off"},
		"synchronous_commit": {set("synchronous_commit", "off"), set("synchronous_commit", "on"), "FAILED   synchronous_commit = off"},
		"any standby":        {set("synchronous_standby_names", "*"), set("synchronous_standby_names", ""), "Name the standbys"},
		"role":               {sql("CREATE ROLE walhaven"), sql("DROP ROLE walhaven"), "Choose another --role"},
		"slot": {
			sql("SELECT pg_create_physical_replication_slot('walhaven')"), sql("SELECT pg_drop_replication_slot('walhaven')"),
			"Drop it if nobody needs it",
		},
		"safekeeper": {a.keepers[2].Kill, a.keepers[2].Start, "Every safekeeper has to answer"},
	} {
		t.Run(name, func(t *testing.T) {
			c.spoil()
			before := a.footprint()
			out, code := cluster.Walhaven(t, a.args...)
			require.Equal(t, 1, code, out)
			require.Contains(t, out, c.says)
			require.Contains(t, out, "nothing was changed")
			require.Equal(t, before, a.footprint())
			require.NoFileExists(t, filepath.Join(a.dir, operator.ClusterFile))
			c.mend()
		})
	}
}

// TestAttachLeavesOthersNamesAlone attaches a server that waits for standbys
// already: the quorum gets its WAL, and the operator chooses who is waited for.
func TestAttachLeavesOthersNamesAlone(t *testing.T) {
	t.Parallel()
	a := newAttached(t, nil)
	require.NoError(t, a.pg.Exec(t.Context(), `ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (s1, "s-2")'`))
	require.NoError(t, a.pg.Reload(t.Context()))
	before := a.footprint()
	out := a.attach()
	require.Contains(t, out, "commits do not wait for the quorum yet")
	require.Contains(t, out, `synchronous_standby_names = 'FIRST 3 (walhaven, s1, "s-2")'`)
	require.Equal(t, `ANY 1 (s1, "s-2")`, a.value("SHOW synchronous_standby_names"))

	// The operator follows; attach then has nothing left to do, and detach does not
	// undo what attach has not done.
	require.NoError(t, a.pg.Exec(t.Context(), "ALTER SYSTEM SET synchronous_standby_names = 'walhaven'"))
	require.NoError(t, a.pg.Reload(t.Context()))
	require.Contains(t, a.attach(), "Every commit now waits")
	out, code := cluster.Walhaven(t, "detach", "--dir", a.dir, "--postgres", a.pg.Conninfo())
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "Take walhaven out of it there")
	require.NoError(t, a.pg.Exec(t.Context(), `SET synchronous_commit = local; CREATE TABLE t ()`))
	require.NoError(t, a.pg.Exec(t.Context(), `ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (s1, "s-2")'`))
	require.NoError(t, a.pg.Reload(t.Context()))
	a.detach("--postgres", a.pg.Conninfo())
	require.Equal(t, before, a.footprint())

	for manager, line := range map[string]string{"patroni": "ignore_slots:", "cloudnativepg": "standbyNamesPre: [walhaven]"} {
		out, code := cluster.Walhaven(t, append(slices.Clone(a.args), "--timeline", "managed", "--dry-run", "--managed-by", manager)...)
		require.Zero(t, code, out)
		require.Contains(t, out, line)
		require.NotContains(t, strings.ReplaceAll(out, "\n", " "), "ALTER SYSTEM")
	}
}
