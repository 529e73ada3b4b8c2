package walproposer_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// aheadOfDisk is a world whose PostgreSQL was behind the quorum with its flush when
// its machine crashed, and where the quorum was. Row 1 was acknowledged, no row below 0
// committed.
func aheadOfDisk(t *testing.T) (w *world, quorum wal.LSN) {
	w = newWorld(t, written)
	p := w.propose(w.early())
	p.streams()
	w.demandQuorum()
	w.awaitEarly(p)
	require.NoError(t, w.insert(1))

	c, err := w.pg.Connect(w.ctx(), "postgres")
	require.NoError(t, err)
	defer c.Close(w.ctx()) //nolint:errcheck // Its server is killed.
	_, err = c.Exec(w.ctx(), "BEGIN").ReadAll()
	require.NoError(t, err)
	flushed := wal.LSN(0)
	// Now and then PostgreSQL's WAL writer flushes all the same: then it is tried again.
	for rows := 300; quorum <= flushed; rows += 300 {
		w.awaitEarly(p)
		// It is more than PostgreSQL's buffers, so that some of it is written; no more than
		// is pushed early.
		_, err := c.Exec(w.ctx(), fmt.Sprintf("INSERT INTO t SELECT i, repeat('y', 200) FROM generate_series(%d, %d) i", -rows, -rows+299)).ReadAll()
		require.NoError(t, err)
		flushed = w.lsn("SELECT pg_current_wal_flush_lsn()")
		require.Eventually(t, func() bool { return p.Status().CommitLSN > flushed }, patience, 5*time.Millisecond, "nothing is pushed early")
		quorum = p.Status().CommitLSN
		flushed = w.lsn("SELECT pg_current_wal_flush_lsn()") // asked later, and still lower
	}
	t.Logf("the quorum has %s, PostgreSQL has flushed %s", quorum, flushed)

	// The machine crashes: nothing behind the flush reached the disk.
	require.NoError(t, w.pg.Kill())
	p.stop()
	path := segmentFile(w.pg.DataDir(), flushed)
	require.NoError(t, os.Truncate(path, int64(wal.DefaultSegmentSize.Offset(flushed))))
	require.NoError(t, os.Truncate(path, int64(wal.DefaultSegmentSize)))
	return w, quorum
}

// goesOn shows that the server has what it must have, and commits.
func (w *world) goesOn() {
	w.t.Helper()
	for where, want := range map[string]string{"i = 1": "1", "i < 0": "0"} {
		n, err := w.pg.QueryValue(w.ctx(), "SELECT count(*) FROM t WHERE "+where)
		require.NoError(w.t, err)
		require.Equal(w.t, want, n, where)
	}
	q := w.propose(w.early())
	q.streams()
	require.NoError(w.t, w.insert(2))
	q.stop()
}

// The quorum has WAL before PostgreSQL has flushed it. When the machine crashes
// then, PostgreSQL's disk is behind: check says so, and following the safekeepers
// brings everything back, what was acknowledged first of all.
func TestEarlyPushIsAheadOfPostgreSQLsDisk(t *testing.T) {
	t.Parallel()
	w, quorum := aheadOfDisk(t)
	v := w.checks(w.pg.DataDir(), walproposer.StartStandby)
	require.Less(t, v.Own, v.Quorum)
	w.followAndPromote(v, quorum)
	w.goesOn()
}

// What its disk lacks can be fetched. Then the server recovers and is the primary that
// it was, on its timeline, though it crashes again at once.
func TestCrashedServerFetchesItsWAL(t *testing.T) {
	t.Parallel()
	w, quorum := aheadOfDisk(t)
	require.True(t, w.checks(w.pg.DataDir(), walproposer.StartStandby).Fetchable)
	v, err := walproposer.Fetch(w.ctx(), w.checkOptions(w.pg.DataDir(), time.Second))
	require.NoError(t, err)
	again, err := walproposer.Fetch(w.ctx(), w.checkOptions(w.pg.DataDir(), time.Second))
	require.NoError(t, err, "nothing is to be done any more")
	require.Equal(t, v.Own, again.Own)
	require.Equal(t, walproposer.StartPrimary, v.Action, v.Reason)
	require.GreaterOrEqual(t, v.Own, quorum)
	require.False(t, v.Fetchable)
	require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
	require.GreaterOrEqual(t, w.lsn("SELECT pg_current_wal_insert_lsn()"), quorum)
	require.NoError(t, w.pg.Kill())
	w.checks(w.pg.DataDir(), walproposer.StartPrimary)
	require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
	w.goesOn()
	tli, err := w.pg.QueryValue(w.ctx(), "SELECT timeline_id FROM pg_control_checkpoint()")
	require.NoError(t, err)
	require.Equal(t, "1", tli)
}

// settle closes the end of WAL, and returns it: what a minority has behind the last
// commit is part of it or not. Without that a standby may not get it.
func (w *world) settle() wal.LSN {
	w.t.Helper()
	end, err := walproposer.Sync(w.ctx(), walproposer.SyncOptions{
		Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline, Logger: testLogger(w.t),
	})
	require.NoError(w.t, err)
	return end
}

// followAndPromote starts the world's server as a standby of the safekeepers, and
// promotes it when it has all, what was committed first of all.
func (w *world) followAndPromote(v *walproposer.Verdict, committed wal.LSN) {
	w.t.Helper()
	end := w.settle()
	require.GreaterOrEqual(w.t, end, committed)
	conninfo, err := walproposer.StandbyConninfo(w.addresses(), "standby", "", v.Timeline)
	require.NoError(w.t, err)
	require.NoError(w.t, walproposer.WriteStandby(w.pg.DataDir(), conninfo))
	require.NoError(w.t, w.pg.Start(w.ctx(), compute.StartOptions{}))
	require.Eventually(w.t, func() bool { return w.lsn("SELECT pg_last_wal_replay_lsn()") >= end }, patience, 20*time.Millisecond)
	_, err = w.pg.Query(w.ctx(), "SELECT pg_promote()")
	require.NoError(w.t, err)
}
