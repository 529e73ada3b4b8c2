package walproposer_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

func (w *world) check(dir string) (*walproposer.Verdict, error) {
	w.t.Helper()
	return w.checkAfter(dir, time.Second)
}

// checkAfter takes a writer for gone that was silent for so long.
func (w *world) checkAfter(dir string, silence time.Duration) (*walproposer.Verdict, error) {
	w.t.Helper()
	return walproposer.Check(w.ctx(), walproposer.CheckOptions{
		DataDir: dir, Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline.String(),
		TakeoverAfter: silence, Logger: testLogger(w.t),
	})
}

// checks demands an action.
func (w *world) checks(dir string, want walproposer.Action) *walproposer.Verdict {
	w.t.Helper()
	v, err := w.check(dir)
	require.NoError(w.t, err)
	require.Equal(w.t, want, v.Action, v.Reason)
	return v
}

// refuses demands a refusal that names a position and a way out.
func (w *world) refuses(dir, reason string) {
	w.t.Helper()
	_, err := w.check(dir)
	w.isRefusal(err, reason)
}

func (w *world) isRefusal(err error, reason string) {
	w.t.Helper()
	var r *walproposer.Refusal
	require.ErrorAs(w.t, err, &r)
	require.Contains(w.t, r.Reason, reason)
	require.Regexp(w.t, `[0-9A-F]+/[0-9A-F]+`, r.Reason)
	require.NotEmpty(w.t, r.Hint)
}

// copyOf copies a data directory as it is; the copy is a server of its own.
func (w *world) copyOf(name string) string {
	w.t.Helper()
	dir := filepath.Join(computetest.TempDir(w.t), name)
	out, err := exec.Command("cp", "-a", w.pg.DataDir(), dir).CombinedOutput()
	require.NoError(w.t, err, "%s", out)
	_ = os.Remove(filepath.Join(dir, "postmaster.pid"))
	return dir
}

// open makes a server of a copied directory.
func (w *world) open(dir string) *compute.Server {
	w.t.Helper()
	s, err := compute.Open(compute.OpenOptions{Install: w.pg.Install(), DataDir: dir, NewPort: true})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = s.Kill() })
	return s
}

// work is a life of the primary: its commits wait for the quorum; it ends with
// the walproposer having brought everything there, or by a crash.
func (w *world) work(crash bool, rows ...int) {
	w.t.Helper()
	if w.pg.PID() == 0 {
		require.NoError(w.t, w.pg.Start(w.ctx(), compute.StartOptions{}))
	}
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	for _, i := range rows {
		require.NoError(w.t, w.insert(i))
	}
	if crash {
		require.NoError(w.t, w.pg.Kill())
	} else {
		require.NoError(w.t, w.pg.Stop(w.ctx(), compute.Fast))
	}
	p.stop()
}

func TestRestartedPrimaryStartsAsPrimary(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	_, err := w.check(w.pg.DataDir())
	require.ErrorIs(t, err, pgdata.ErrRunning)
	w.work(false, 1, 2)
	v := w.checks(w.pg.DataDir(), walproposer.StartPrimary)
	require.Equal(t, v.Own, v.Quorum, "the quorum has the shutdown checkpoint")
	w.work(true, 3)
	v = w.checks(w.pg.DataDir(), walproposer.StartPrimary)
	require.GreaterOrEqual(t, v.Own, v.Quorum)
	w.work(false, 4)

	terms := w.terms()
	w.checks(w.pg.DataDir(), walproposer.StartPrimary)
	require.Equal(t, terms, w.terms(), "asking touches no term")
}

// An older copy is behind: it would write over what was acknowledged. It follows
// the safekeepers, and may be promoted when it has everything.
func TestOlderCopyFollowsAndIsPromoted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	w.work(false, 1)
	older := w.copyOf("older")
	w.work(true, 2, 3)

	v := w.checks(older, walproposer.StartStandby)
	require.Less(t, v.Own, v.Quorum)
	conninfo, err := walproposer.StandbyConninfo(w.addresses(), "standby", "", v.Timeline)
	require.NoError(t, err)
	require.NoError(t, walproposer.WriteStandby(older, conninfo))
	require.True(t, w.checks(older, walproposer.StartStandby).Prepared)

	end := w.settle()
	old := w.pg
	w.pg = w.open(older)
	require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
	require.Eventually(t, func() bool {
		at, err := w.pg.QueryValue(w.ctx(), "SELECT pg_last_wal_replay_lsn()")
		l, perr := wal.ParseLSN(at)
		return err == nil && perr == nil && l >= end
	}, patience, 20*time.Millisecond, "the standby does not reach %s", end)
	_, err = w.pg.Query(w.ctx(), "SELECT pg_promote()")
	require.NoError(t, err)
	require.NoError(t, w.pg.Exec(w.ctx(), "CHECKPOINT"))
	w.work(false, 4)
	count, err := func() (string, error) {
		require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
		return w.pg.QueryValue(w.ctx(), "SELECT count(*) FROM t")
	}()
	require.NoError(t, err)
	require.Equal(t, "4", count)

	// The old primary wrote on by itself: what it has now is nobody's.
	require.NoError(t, old.Set(w.ctx(), map[string]string{"synchronous_standby_names": ""}))
	require.NoError(t, old.Start(w.ctx(), compute.StartOptions{}))
	require.NoError(t, old.Exec(w.ctx(), "INSERT INTO t VALUES (99, 'orphan')"))
	require.NoError(t, old.Stop(w.ctx(), compute.Fast))
	w.refuses(old.DataDir(), "parts at")
}

// A clone that was started by itself has another history under the same
// positions.
func TestClonesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	w.work(false, 1)
	clone := w.open(w.copyOf("clone"))
	require.NoError(t, clone.Set(w.ctx(), map[string]string{"synchronous_standby_names": ""}))
	require.NoError(t, clone.Start(w.ctx(), compute.StartOptions{}))
	for i := range 50 {
		require.NoError(t, clone.Exec(w.ctx(), fmt.Sprintf("INSERT INTO t VALUES (%d, 'clone')", 1000+i)))
	}
	require.NoError(t, clone.Stop(w.ctx(), compute.Fast))
	w.work(false, 2, 3, 4)
	w.refuses(clone.DataDir(), "another history")
}

// A snapshot of a running primary holds everything, and is refused while that
// one writes.
func TestSnapshotOfALivePrimaryIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	require.NoError(t, w.pg.Exec(w.ctx(), "CHECKPOINT"))
	_, err := w.checkAfter(w.copyOf("snapshot"), 4*time.Second) // well above the pause between heartbeats
	w.isRefusal(err, "another primary writes")
}

// Pages may come from WAL that is gone: nothing shows whose they are.
func TestDirectoryWithoutItsCheckpointIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	w.work(false, 1)
	// Started by itself, so that the quorum confirms nothing of it.
	require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
	require.NoError(t, w.pg.Set(w.ctx(), map[string]string{"synchronous_standby_names": ""}))
	require.NoError(t, w.pg.Exec(w.ctx(), "SELECT pg_switch_wal(); INSERT INTO t VALUES (5, 'x'); SELECT pg_switch_wal(); INSERT INTO t VALUES (6, 'x'); CHECKPOINT"))
	require.NoError(t, w.pg.Stop(w.ctx(), compute.Fast))
	d, err := pgdata.Open(w.pg.DataDir(), "walhaven")
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(d.Path, "pg_wal", d.SegmentSize.FileName(d.TLI, d.SegmentSize.SegmentNo(d.Checkpoint)))))
	w.refuses(d.Path, "is missing in this directory")
}
