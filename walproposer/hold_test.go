package walproposer_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/walproposer"
)

// A held term keeps out the walproposer that it deposed, which is alive and would
// come back after a sync; its commits wait. One that insists takes over.
func TestHeldTermKeepsTheOldWriterOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	acknowledged := p.Status().CommitLSN
	h, err := walproposer.Hold(w.ctx(), walproposer.SyncOptions{
		Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline, Logger: testLogger(t),
	})
	require.NoError(t, err)
	defer h.Close()
	require.GreaterOrEqual(t, h.End(), acknowledged)
	done := w.begin(2)
	r := isRefused(t, p.wait())
	require.Contains(t, r.Error(), "taken over")
	w.stillWaits(done)
	for _, s := range w.statuses() {
		require.LessOrEqual(t, s.CommitLSN, h.End())
	}
	require.NoError(t, h.Err())

	o := w.options()
	o.Takeover = true
	w.propose(o).streams()
	require.NoError(t, <-done)
	<-h.Done()
	require.Error(t, h.Err())
}
