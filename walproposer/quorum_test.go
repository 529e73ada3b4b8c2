package walproposer_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
)

func TestOneSafekeeperLessChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	w.propose(w.options()).streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	w.keepers[0].down()
	for i := range 10 {
		require.NoError(t, w.insert(10+i))
	}
	w.keepers[0].up()
	w.keepers[1].down()
	for i := range 10 {
		require.NoError(t, w.insert(30+i))
	}
}

func TestCommitsWaitForAQuorumAndGoOnSoon(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	w.keepers[0].down()
	w.keepers[2].down()
	done := w.begin(2)
	w.stillWaits(done)
	require.Eventually(t, func() bool { return p.Status().State == "waiting" }, patience, 10*time.Millisecond,
		"what no quorum has is said to be waiting")
	// Pauses between attempts stay short while there is no quorum: otherwise these
	// would take minutes.
	tried := p.counter("walhaven_walproposer_safekeeper_disconnects_total")
	require.Eventually(t, func() bool {
		return p.counter("walhaven_walproposer_safekeeper_disconnects_total") >= tried+30
	}, patience, 10*time.Millisecond)
	term := p.Status().Term
	w.keepers[2].up()
	require.NoError(t, <-done)
	require.Equal(t, term, p.Status().Term, "a quorum that comes back needs no election")
	p.streams()
}

func TestLaggardBelowTheFloorIsFedByADonor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	o := w.options()
	o.QueueSize = 1
	p := w.propose(o)
	p.streams()
	w.demandQuorum()
	w.keepers[1].down()
	w.exec("CREATE TABLE big AS SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 20000) i")
	require.NoError(t, w.insert(1))
	head := p.Status().CommitLSN
	w.keepers[1].up()
	require.Eventually(t, func() bool { return w.statuses()[1].CommitLSN >= head }, patience, 50*time.Millisecond)
	// Commits rest on the one that was behind.
	w.keepers[0].down()
	require.NoError(t, w.insert(2))
}

func TestMemberWithoutDataJoinsAndDoesNotCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	w.keepers[2].down()
	w.keepers[2].dir = t.TempDir()
	w.keepers[2].up()
	commit := p.Status().CommitLSN
	require.Eventually(t, func() bool {
		for _, s := range w.statusesOf(2) {
			return s.Joining && s.FlushLSN >= commit
		}
		return false
	}, patience, 50*time.Millisecond, "it is founded as joining, and fed")
	require.NoError(t, w.insert(2))
	w.keepers[0].down()
	w.stillWaits(w.begin(3))
}
