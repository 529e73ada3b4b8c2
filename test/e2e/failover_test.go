package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// TestFailoverUnderLoad loses the primary's machine under load and fails over to a
// warm standby, back and forth. Every acknowledged insert is on the new primary,
// and what else follows the safekeepers goes on by itself: another standby without
// pg_rewind, and pg_receivewal, over switches in the middle of a segment.
func TestFailoverUnderLoad(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	follower := c.WarmStandby("")
	archive := startReceivewal(t, c)
	total := 0
	for round := range 3 {
		standby := c.WarmStandby("walhaven")
		w := c.StartWriter(4)
		w.Await(300)
		began := time.Now()
		require.NoError(t, c.Server.Kill())
		c.Kill("walproposer")
		out, code := c.Walhaven("failover", "--to", standby.Conninfo())
		require.Zero(t, code, out)
		require.Contains(t, out, "the first commit of the new primary is on the quorum")
		acked := w.Stop()
		total += len(acked)
		require.Zero(t, w.Lost(standby), "of %d acknowledged commits", len(acked))
		t.Logf("round %d: %d acknowledged commits, %s from the kill to the first commit\n%s", round+1, len(acked), time.Since(began).Round(time.Millisecond), out)
		c.Promoted(standby)
		tli, err := c.Server.QueryValue(ctx, "SELECT timeline_id FROM pg_control_checkpoint()")
		require.NoError(t, err)
		require.NotEmpty(t, tli)
		requireState(t, c, operator.StateSafe)
		requireFollows(t, c, follower)
		requireSwitchWithinSegment(t, c, wal.TLI(round+2), follower, archive)
	}
	count, err := follower.QueryValue(ctx, "SELECT count(*) FROM acked")
	require.NoError(t, err)
	own, err := c.Server.QueryValue(ctx, "SELECT count(*) FROM acked")
	require.NoError(t, err)
	require.Equal(t, own, count)
	archive.has("00000004")
	t.Logf("%d acknowledged commits over 3 failovers, none lost", total)
}

// requireSwitchWithinSegment requires that a timeline of the primary began in the middle
// of a segment, and that the new timeline's segment begins with the bytes of the old one's
// at everybody: primary, standby and pg_receivewal, which keeps the old one as .partial.
func requireSwitchWithinSegment(t *testing.T, c *cluster.Cluster, tli wal.TLI, standby *compute.Server, archive *receivewal) {
	t.Helper()
	const size = wal.DefaultSegmentSize
	text, err := os.ReadFile(filepath.Join(c.Server.DataDir(), "pg_wal", wal.HistoryFileName(tli)))
	require.NoError(t, err)
	history, err := wal.ParseTimelineHistory(tli, text)
	require.NoError(t, err)
	begin, ok := history.Begin(tli)
	require.True(t, ok)
	within := size.Offset(begin)
	require.NotZero(t, within, "timeline %d began at %s", tli, begin)
	name := size.FileName(tli, size.SegmentNo(begin))
	own, err := os.ReadFile(filepath.Join(c.Server.DataDir(), "pg_wal", name))
	require.NoError(t, err)
	require.NotEqual(t, make([]byte, within), own[:within])
	follows, err := os.ReadFile(filepath.Join(standby.DataDir(), "pg_wal", name))
	require.NoError(t, err)
	require.True(t, bytes.Equal(own[:within], follows[:within]), "the standby's %s up to the switch at %s", name, begin)
	if archive == nil {
		return
	}
	old := size.FileName(tli-1, size.SegmentNo(begin)) + ".partial"
	for _, names := range [][]string{{old}, {name, name + ".partial"}} {
		cluster.Eventually(t, "pg_receivewal has "+names[0]+" up to the switch", func() bool {
			for _, name := range names {
				got, err := os.ReadFile(filepath.Join(archive.dir, name))
				if err == nil && len(got) >= int(within) && bytes.Equal(own[:within], got[:within]) {
					return true
				}
			}
			return false
		})
	}
	t.Logf("timeline %d began at %s, %d bytes into its segment", tli, begin, within)
}

// requireFollows waits until a standby has what the primary has now.
func requireFollows(t *testing.T, c *cluster.Cluster, standby *compute.Server) {
	t.Helper()
	ctx := context.Background()
	require.NoError(t, c.Server.Exec(ctx, "SELECT pg_logical_emit_message(true, 'test', 'follow')"))
	end := positionOf(t, c.Server, "SELECT pg_current_wal_flush_lsn()")
	c.Eventually(fmt.Sprintf("the standby reaches %s", end), func() bool {
		text, err := standby.QueryValue(ctx, "SELECT pg_last_wal_replay_lsn()")
		if err != nil {
			return false
		}
		at, err := wal.ParseLSN(text)
		return err == nil && at >= end
	})
}

func positionOf(t *testing.T, server *compute.Server, sql string) wal.LSN {
	t.Helper()
	text, err := server.QueryValue(context.Background(), sql)
	require.NoError(t, err)
	at, err := wal.ParseLSN(text)
	require.NoError(t, err)
	return at
}

// TestSwitchoverAndBack shuts the primary down in order, so that nothing is lost
// that anybody has seen, and it follows as a standby and becomes the primary
// again.
func TestSwitchoverAndBack(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	old, standby := c.Server, c.WarmStandby("walhaven")
	require.NoError(t, old.Exec(ctx, "CREATE TABLE t AS SELECT 1 AS i"))
	for round := range 2 {
		w := c.StartWriter(2)
		w.Await(50)
		out, code := c.Walhaven("switchover", "--to", standby.Conninfo())
		require.Zero(t, code, out)
		require.Contains(t, out, "WAL ends with CHECKPOINT_SHUTDOWN")
		require.Contains(t, out, "can be started as a standby now")
		w.Stop()
		require.Zero(t, w.Lost(standby))
		t.Logf("round %d\n%s", round+1, out)

		require.Zero(t, old.PID(), "the old primary was stopped")
		c.Promoted(standby)
		require.NoError(t, old.Start(ctx, compute.StartOptions{}))
		t.Cleanup(func() { _ = old.Kill() })
		require.NoError(t, old.Exec(ctx, "SELECT pg_drop_replication_slot('walhaven')"))
		requireFollows(t, c, old)
		old, standby = standby, old
	}
	require.NoError(t, c.Server.Exec(ctx, "INSERT INTO t VALUES (2)"))
}

// TestFailoverSettlesFirst kills the walproposer when PostgreSQL has reported a
// commit to its client and no safekeeper was told that it is committed. No standby
// has it; after the failover the new primary does.
func TestFailoverSettlesFirst(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{InProcess: true})
	standby := c.WarmStandby("walhaven")
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE acknowledged (i int)"))
	requireFollows(t, c, standby)
	c.Kill("walproposer")
	c.StartUnready("walproposer", "WALHAVEN_FAILPOINTS=proposing/commit/before-announce@20=kill")
	last := 0
	c.Eventually("the walproposer dies between a commit and its announcement", func() bool {
		if insertWithin(ctx, c.Server, last+1, time.Second) == nil {
			last++
		}
		return c.PID("walproposer") == 0
	})
	require.Positive(t, last)
	require.NoError(t, c.Server.Kill())
	out, code := c.Walhaven("failover", "--to", standby.Conninfo())
	require.Zero(t, code, out)
	n, err := standby.QueryValue(ctx, fmt.Sprintf("SELECT count(DISTINCT i) FROM acknowledged WHERE i <= %d", last))
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(last), n, "acknowledged rows\n%s", out)
}

// insertWithin inserts a row; nil says that its commit was acknowledged.
func insertWithin(ctx context.Context, s *compute.Server, i int, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return s.Exec(ctx, fmt.Sprintf("INSERT INTO acknowledged VALUES (%d)", i))
}

// TestPromotedServerWaitsFromItsFirstCommit ends the tool right behind the
// promotion: the new primary, which was not told to wait when it was a standby,
// acknowledges nothing. Called again the tool goes on, also if it was ended again
// behind the start of the walproposer, and commits return.
func TestPromotedServerWaitsFromItsFirstCommit(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := cluster.New(t, cluster.Options{})
	standby := c.WarmStandby("")
	require.NoError(t, c.Server.Exec(ctx, "CREATE TABLE t (i int)"))
	require.NoError(t, c.Server.Kill())
	c.Kill("walproposer")
	args := []string{"failover", "--dir", c.Dir(), "--to", standby.Conninfo()}
	out, code := cluster.WalhavenAt(t, "operator/promote/after@1=kill", args...)
	require.Equal(t, -1, code, out)
	inserted := make(chan error, 1)
	go func() { inserted <- standby.Exec(ctx, "INSERT INTO t VALUES (1)") }()
	c.Eventually("the commit waits for the quorum", func() bool {
		select {
		case err := <-inserted:
			require.FailNow(t, "a commit returned that no quorum has", "%v", err)
		default:
		}
		n, err := standby.QueryValue(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		return err == nil && n == "1"
	})
	out, code = cluster.WalhavenAt(t, "operator/commit/before@1=kill", args...)
	require.Equal(t, -1, code, out)
	require.Contains(t, out, "It was promoted already; what is left is its walproposer")
	c.Eventually("the walproposer is there", func() bool {
		n, err := standby.QueryValue(ctx, "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'walhaven'")
		return err == nil && n == "1"
	})
	out, code = cluster.Walhaven(t, args...)
	require.Zero(t, code, out)
	require.Contains(t, out, "It is the primary already and has its walproposer")
	require.NoError(t, <-inserted)
	c.Promoted(standby)
	requireState(t, c, operator.StateSafe)
}
