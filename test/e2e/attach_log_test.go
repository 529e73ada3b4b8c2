package e2e

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/test/cluster"
)

// granting is the statement that attach prints for who wants it.
var granting = regexp.MustCompile(`psql '.*' -c '(GRANT EXECUTE .*)'`)

// TestCancelledWaitsOfAnAttachedServer follows what attach, status and rpo say: first
// how the walproposer may read PostgreSQL's log, then which commits were cancelled while
// they waited. Detach takes that leave back.
func TestCancelledWaitsOfAnAttachedServer(t *testing.T) {
	t.Parallel()
	a := newAttached(t, map[string]string{"logging_collector": "on"})
	before := a.footprint()
	out := a.attach()
	statement := granting.FindStringSubmatch(out)
	require.NotNil(t, statement, out)
	says := func(command, text string) {
		t.Helper()
		cluster.Eventually(t, command+" says "+text, func() bool {
			out, code := cluster.Walhaven(t, command, "--dir", a.dir)
			return code == 0 && strings.Contains(out, text)
		})
	}
	says("status", "are not recorded: permission denied")
	says("rpo", "are not recorded: permission denied")
	require.NoError(t, a.pg.Exec(t.Context(), statement[1]))
	require.NotRegexp(t, granting, a.attach(), "it is granted")
	cluster.Eventually(t, "the log is read", func() bool {
		out, code := cluster.Walhaven(t, "status", "--dir", a.dir, "-o", "json")
		return code == 0 && strings.Contains(out, `"cancelled_waits": "seen"`)
	})

	for _, k := range a.keepers[:2] {
		k.Kill()
	}
	done := make(chan error, 1)
	go func() { done <- a.pg.Exec(context.Background(), "CREATE TABLE waits ()") }()
	cluster.Eventually(t, "a commit waits and is cancelled", func() bool {
		return a.value("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "1"
	})
	require.NoError(t, <-done)
	says("status", "WARNING:  1 wait for the quorum was cancelled")
	says("rpo", "1 wait for the quorum was cancelled")
	for _, k := range a.keepers[:2] {
		k.Start()
	}
	a.detach("--postgres", a.pg.Conninfo())
	require.Equal(t, strings.TrimSpace(withoutComments(before)), strings.TrimSpace(withoutComments(a.footprint())))
}
