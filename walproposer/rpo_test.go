package walproposer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/walproposer"
)

// withLedger starts a server whose commits wait for the quorum, and its walproposer.
func withLedger(t *testing.T) (w *world, o walproposer.Options, p *proposer) {
	t.Helper()
	w = newWorld(t, computetest.Options{})
	w.demandQuorum()
	o = w.options()
	o.Ledger = filepath.Join(t.TempDir(), "rpo.jsonl")
	p = w.propose(o)
	p.streams()
	return w, o, p
}

// A setting that lets commits return without the quorum is recorded while it
// holds, by a walproposer that is killed and started in between, too.
func TestIntervalsWithoutTheQuorumAreRecorded(t *testing.T) {
	t.Parallel()
	w, o, p := withLedger(t)
	intervals := func(n int, over bool) (last walproposer.Interval) {
		t.Helper()
		require.Eventually(t, func() bool {
			all, err := p.Intervals()
			if err != nil || len(all) != n {
				return false
			}
			last = all[n-1]
			return !last.Ended.IsZero() == over
		}, patience, 20*time.Millisecond)
		return last
	}
	require.NoError(t, w.insert(1))
	require.NoError(t, w.pg.Set(w.ctx(), map[string]string{"synchronous_commit": "local"}))
	i := intervals(1, false)
	require.Contains(t, i.Reason, "local")
	require.NotZero(t, i.From)
	require.Eventually(t, func() bool { return p.counter("walhaven_walproposer_unprotected_intervals_total") > 0 }, patience, 10*time.Millisecond)
	p.stop()
	p = w.propose(o)
	p.streams()
	require.NoError(t, w.insert(2))
	require.NoError(t, w.pg.Set(w.ctx(), map[string]string{"synchronous_commit": "on"}))
	i = intervals(1, true)
	require.Greater(t, i.To, i.From)
}

// A list of which any is enough lets commits return without the quorum as soon as another
// one of it is connected, though the walproposer is called synchronous as well.
func TestIntervalsInWhichAnotherAcknowledgesAreRecorded(t *testing.T) {
	t.Parallel()
	w, _, p := withLedger(t)
	require.NoError(t, w.pg.Set(w.ctx(), map[string]string{"synchronous_standby_names": "ANY 1 (walhaven, other)"}))
	other, err := w.pg.ReceiveWAL(t.Context(), filepath.Join(computetest.TempDir(t), "wal"), "--synchronous", "-d", "application_name=other")
	require.NoError(t, err)
	defer other.Stop(patience) //nolint:errcheck // Stopped below, if all is well.
	require.Eventually(t, func() bool {
		all, err := p.Intervals()
		return err == nil && len(all) == 1 && strings.Contains(all[0].Reason, "1 others can acknowledge")
	}, 2*patience, 20*time.Millisecond)
	w.keepers[0].down()
	w.keepers[1].down()
	require.NoError(t, w.insert(1), "the other one is enough, and two of three safekeepers are gone")
	w.keepers[0].up()
	w.keepers[1].up()
	require.NoError(t, other.Stop(patience))
	require.Eventually(t, func() bool {
		all, err := p.Intervals()
		return err == nil && len(all) == 1 && !all[0].Ended.IsZero()
	}, 2*patience, 20*time.Millisecond)
	require.NoError(t, w.insert(2))
}

// The ledger is on the safekeepers, too: what happened while one of them was away it
// hears when it is back, and a walproposer on another machine, with no ledger of its
// own, brings it to a member that has lost its disk.
func TestLedgerIsOnTheQuorum(t *testing.T) {
	w, o, p := withLedger(t)
	w.keepers[2].down()
	require.NoError(t, w.pg.Set(w.ctx(), map[string]string{"synchronous_commit": "local"}))
	kept := func(what string, which ...int) (rows []replication.Row) {
		t.Helper()
		for _, i := range which {
			require.Eventually(t, func() bool {
				var err error
				rows, err = w.keepers[i].query(w, "SHOW INTERVALS")
				return err == nil && len(rows) == 1 && (rows[0]["ended"] != "") == (what == "over")
			}, 2*patience, 20*time.Millisecond, "safekeeper %d", i+1)
		}
		return rows
	}
	require.Contains(t, kept("open", 0, 1)[0]["reason"], "local")
	w.keepers[2].up()
	require.NoError(t, w.pg.Set(w.ctx(), map[string]string{"synchronous_commit": "on"}))
	over := kept("over", 0, 1, 2)
	all, err := p.Intervals()
	require.NoError(t, err)
	require.Equal(t, all[0].Values()[0], over[0]["began"])
	p.stop()

	w.keepers[0].down()
	require.NoError(t, os.RemoveAll(w.keepers[0].dir))
	w.keepers[0].up()
	o.Ledger = ""
	p = w.propose(o)
	p.streams()
	require.Equal(t, over, kept("over", 0), "a member that was filled anew")
}
