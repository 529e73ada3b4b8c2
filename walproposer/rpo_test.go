package walproposer_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/walproposer"
)

// A setting that lets commits return without the quorum is recorded while it
// holds, by a walproposer that is killed and started in between, too.
func TestIntervalsWithoutTheQuorumAreRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	w.demandQuorum()
	o := w.options()
	o.Ledger = filepath.Join(t.TempDir(), "rpo.jsonl")
	p := w.propose(o)
	p.streams()
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
