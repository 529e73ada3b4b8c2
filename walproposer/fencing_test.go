package walproposer_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/walproposer"
)

// clone copies the stopped server's data directory, slots and all, and starts
// the original again.
func (w *world) clone() *compute.Server {
	w.t.Helper()
	dir := filepath.Join(computetest.TempDir(w.t), "clone")
	require.NoError(w.t, w.pg.Stop(w.ctx(), compute.Fast))
	out, err := exec.Command("cp", "-a", w.pg.DataDir(), dir).CombinedOutput()
	require.NoError(w.t, err, string(out))
	require.NoError(w.t, w.pg.Start(w.ctx(), compute.StartOptions{}))
	return computetest.Open(w.t, w.pg.Install(), dir, nil)
}

func isRefused(t *testing.T, err error) *walproposer.Refusal {
	t.Helper()
	var r *walproposer.Refusal
	require.ErrorAs(t, err, &r)
	require.NotEmpty(t, r.Hint, "a refusal names the way out")
	return r
}

func TestCloneIsRefusedBeforeAnyVote(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	twin := w.clone()
	require.NoError(t, w.insert(2))
	p.stop()
	terms := w.terms()

	t.Run("behind", func(t *testing.T) {
		o := w.options()
		o.Postgres = twin.Conninfo()
		require.NoError(t, twin.Start(w.ctx(), compute.StartOptions{}))
		require.NoError(t, twin.Set(w.ctx(), map[string]string{"synchronous_standby_names": ""}))
		r := isRefused(t, w.propose(o).wait())
		require.Contains(t, r.Error(), "behind")
		require.Equal(t, terms, w.terms(), "no term was touched")
	})
	t.Run("diverged", func(t *testing.T) {
		o := w.options()
		o.Postgres = twin.Conninfo()
		for range 5 {
			require.NoError(t, twin.Exec(w.ctx(), "INSERT INTO t SELECT i, 'other' FROM generate_series((SELECT max(i) + 1 FROM t), (SELECT max(i) + 500 FROM t)) i"))
		}
		r := isRefused(t, w.propose(o).wait())
		require.Contains(t, r.Error(), "differ")
		require.Equal(t, terms, w.terms(), "no term was touched")
	})
	t.Run("the original goes on", func(t *testing.T) {
		w.propose(w.options()).streams()
		require.NoError(t, w.insert(1_000_000))
	})
}

// A slot that the walproposer makes for a server says nothing about what a quorum
// confirmed to it, in later sessions neither: all is compared again.
func TestSlotMadeForAnUnknownServerConfirmsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	twin := w.clone()
	require.NoError(t, w.insert(2))
	p.stop()
	terms := w.terms()

	require.NoError(t, twin.Start(w.ctx(), compute.StartOptions{}))
	require.NoError(t, twin.Set(w.ctx(), map[string]string{"synchronous_standby_names": "", "wal_keep_size": "1GB"}))
	require.NoError(t, twin.Exec(w.ctx(), "SELECT pg_drop_replication_slot('walhaven')"))
	require.NoError(t, twin.Exec(w.ctx(), "INSERT INTO t SELECT i, 'other' FROM generate_series(100, 5000) i"))
	require.NoError(t, twin.Exec(w.ctx(), "CHECKPOINT")) // a slot that reserves would begin here
	o := w.options()
	o.Postgres = twin.Conninfo()
	for range 2 {
		require.Contains(t, isRefused(t, w.propose(o).wait()).Error(), "differ")
	}
	require.Equal(t, terms, w.terms(), "no term was touched")
}

func TestOldPrimaryRestartedInALoopChangesNoTerm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	twin := w.clone()
	require.NoError(t, twin.Start(w.ctx(), compute.StartOptions{}))
	p.streams()
	require.NoError(t, w.insert(2))
	terms := w.terms()
	o := w.options()
	o.Postgres = twin.Conninfo()
	o.TakeoverAfter = patience // the writer is alive, however slow the machine is
	for i := range 4 {
		old := w.propose(o)
		require.NoError(t, w.insert(10+i))
		require.Eventually(t, func() bool { return old.Status().State == "waiting" }, patience, 10*time.Millisecond)
		old.stop()
		require.NoError(t, twin.Restart(w.ctx(), compute.Fast, compute.StartOptions{}))
	}
	require.Equal(t, terms, w.terms())
	require.NoError(t, w.insert(20))
}

func TestRestartedWalproposerTakesANewTerm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	p.stop()
	done := w.begin(2)
	w.stillWaits(done)
	again := w.propose(w.options())
	require.NoError(t, <-done)
	require.Eventually(t, func() bool { return again.Status().Term > p.Status().Term }, patience, 10*time.Millisecond)
	again.stop()

	o := w.options()
	o.TakeoverAfter, o.Takeover = time.Hour, true
	w.propose(o).streams()
	require.NoError(t, w.insert(3))
}

func TestDeposedWalproposerEndsForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	o := w.options()
	o.TakeoverAfter = 4 * time.Second // well above the pause between heartbeats
	first := w.propose(o)
	first.streams()
	// The other reaches the same server under another slot, and takes over.
	o = w.options()
	o.Takeover, o.Slot = true, "other"
	w.exec("SELECT pg_copy_physical_replication_slot('walhaven', 'other')")
	second := w.propose(o)
	r := isRefused(t, first.wait())
	require.Contains(t, r.Error(), "taken over")
	require.Equal(t, "refused", first.Status().State)
	ok, _ := first.health.Status()
	require.False(t, ok)
	second.streams()
}

func TestServerRestartMeansANewProofAndANewTerm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	term := p.Status().Term
	require.NoError(t, w.pg.Restart(w.ctx(), compute.Fast, compute.StartOptions{}))
	require.NoError(t, w.insert(2))
	require.Eventually(t, func() bool { return p.Status().Term != term }, patience, 10*time.Millisecond)
	require.NoError(t, w.pg.Kill())
	require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
	require.NoError(t, w.insert(3))
}

func TestServerStopsThoughTheQuorumIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	o := w.options()
	o.ShutdownGrace = time.Second
	p := w.propose(o)
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	w.keepers[0].down()
	w.keepers[1].down()
	// What they still acknowledged has been taken in once they are known to be gone.
	require.Eventually(t, func() bool { return p.Status().Live <= 1 }, patience, 10*time.Millisecond)
	commit := p.Status().CommitLSN
	require.NoError(t, w.pg.Stop(w.ctx(), compute.Fast))
	require.Equal(t, commit, p.Status().CommitLSN)
}

func TestPromotedServerGoesOnOnTheNextTimeline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	require.NoError(t, w.pg.Stop(w.ctx(), compute.Fast))
	require.NoError(t, w.pg.WriteFile("standby.signal", nil))
	require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
	w.exec("SELECT pg_promote()")
	require.NoError(t, w.insert(2))
	p.streams()
	for _, s := range w.statuses() {
		if s.CommitLSN >= p.Status().CommitLSN {
			require.EqualValues(t, 2, s.TLIHistory.Last)
		}
	}
}

func TestPromotionFarAheadOfTheQuorumIsCaughtUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	require.NoError(t, w.insert(1))
	p.stop()
	// More than a segment that the quorum has not seen lies before the switch.
	w.exec("CREATE TABLE big AS SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 40000) i")
	require.NoError(t, w.pg.Stop(w.ctx(), compute.Fast))
	require.NoError(t, w.pg.WriteFile("standby.signal", nil))
	require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
	w.exec("SELECT pg_promote()")
	w.demandQuorum()
	p = w.propose(w.options())
	require.NoError(t, w.insert(2))
	for i, s := range w.statuses() {
		if s.CommitLSN < p.Status().CommitLSN {
			continue
		}
		require.EqualValues(t, 2, s.TLIHistory.Last, "safekeeper %d", i+1)
		require.Len(t, s.TLIHistory.Ancestors, 1)
		require.Greater(t, s.TLIHistory.Ancestors[0].Switch, s.Start+20<<20)
	}
	// The old timeline's server, had it lived on, is another history.
	require.NoError(t, w.insert(3))
}
