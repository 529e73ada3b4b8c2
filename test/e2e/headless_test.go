package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// TestCommittedWALGoesOutWithoutAWriter kills the walproposer when a quorum holds
// a commit and no safekeeper was told that it is committed, and PostgreSQL with
// it. With nothing asked and nothing started the safekeepers settle it, and a
// standby and the pageserver get it.
func TestCommittedWALGoesOutWithoutAWriter(t *testing.T) {
	ctx := context.Background()
	// In one process, so that its death is that of the whole walproposer.
	c := cluster.New(t, cluster.Options{InProcess: true})
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE t (i int)"))
	standby := c.Standby(c.Safekeepers[1].PG)

	c.Kill("walproposer")
	t.Setenv("WALHAVEN_FAILPOINTS", "proposing/commit/before-announce@20=kill")
	c.StartUnready("walproposer")
	c.Eventually("the walproposer dies between a commit and its announcement", func() bool {
		commit(c)
		return c.PID("walproposer") == 0
	})
	require.NoError(t, c.Server.Kill())
	var end wal.LSN
	for _, s := range safekeepersOf(c) {
		end = max(end, s.FlushLSN)
	}

	c.Eventually("every safekeeper and the pageserver have it", func() bool {
		s := c.CollectStatus(ctx)
		for _, sk := range s.Safekeepers {
			if sk.CommitLSN < end {
				return false
			}
		}
		return s.Pageservers[0].LastRecordLSN >= end
	})
	c.Eventually("the standby has it", func() bool {
		v, err := standby.QueryValue(ctx, "SELECT pg_last_wal_replay_lsn()")
		if err != nil {
			return false
		}
		at, err := wal.ParseLSN(v)
		return err == nil && at >= end
	})
}

// commit inserts a row and gives up waiting for it after a moment.
func commit(c *cluster.Cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Server.Exec(ctx, "INSERT INTO t VALUES (1)")
}
