package walproposer_test

import (
	"cmp"
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// TestServerStopsInOrder is `pg_ctl stop -m fast` with all safekeepers, with a
// quorum, and with none: it ends, and when all are back nothing is lost.
func TestServerStopsInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	o := w.options()
	if os.Getenv("WALHAVEN_TEST_LONG") == "" { // else what is deployed
		o.ShutdownGrace = 2 * time.Second
	}
	p := w.propose(o)
	p.streams()
	w.demandQuorum()
	for round, alive := range []int{3, 2, 0} {
		require.NoError(t, w.insert(round))
		for i := alive; i < 3; i++ {
			w.keepers[i].down()
		}
		ctx, cancel := context.WithTimeout(w.ctx(), patience)
		began := time.Now()
		require.NoError(t, w.pg.Stop(ctx, compute.Fast), "with %d safekeepers", alive)
		cancel()
		t.Logf("with %d safekeepers and a grace of %s the server stopped in %s", alive, cmp.Or(o.ShutdownGrace, walproposer.DefaultShutdownGrace), time.Since(began).Round(time.Millisecond))
		for i := alive; i < 3; i++ {
			w.keepers[i].up()
		}
		require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
		require.NoError(t, w.insert(100+round), "commits are acknowledged again")
	}
	rows, err := w.pg.QueryValue(w.ctx(), "SELECT count(*) FROM t WHERE i IN (0, 1, 2, 100, 101, 102)")
	require.NoError(t, err)
	require.Equal(t, "6", rows)
}

// The safekeepers hear of the last commit, that of the shutdown checkpoint, from
// the walproposer: here nobody else would tell them. Where fail points are compiled
// in, the announcements a moment after each commit are left out, one of which may be
// quicker than the end of the session.
func TestLastCommitIsAnnounced(t *testing.T) {
	if invariant.Enabled { // of the whole process
		invariant.OnPointErr(t, "proposing/announce", func(int) error { return invariant.ErrInjected })
	} else {
		t.Parallel()
	}
	w := newWorld(t, computetest.Options{})
	w.propose(w.options()).streams()
	w.demandQuorum()
	for round := range 4 {
		require.NoError(t, w.insert(round))
		require.NoError(t, w.pg.Stop(w.ctx(), compute.Fast))
		require.Eventually(t, func() bool {
			var flush, commit wal.LSN
			for _, s := range w.statuses() {
				flush, commit = max(flush, s.FlushLSN), max(commit, s.CommitLSN)
			}
			return commit == flush
		}, patience, 10*time.Millisecond, "in round %d", round)
		require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
		require.NoError(t, w.insert(100+round))
	}
}
