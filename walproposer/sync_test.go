package walproposer_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/walproposer"
)

func TestSyncSettlesTheEndOfWAL(t *testing.T) {
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	w.keepers[1].down()
	require.NoError(t, w.insert(2))
	acknowledged := p.Status().CommitLSN
	p.stop()
	w.keepers[1].up()
	o := walproposer.SyncOptions{
		Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline, Logger: testLogger(t),
	}
	end, err := walproposer.Sync(w.ctx(), o)
	require.NoError(t, err)
	require.GreaterOrEqual(t, end, acknowledged)
	again, err := walproposer.Sync(w.ctx(), o)
	require.NoError(t, err)
	require.Equal(t, end, again, "nothing is added by settling")

	// The server's own walproposer goes on after it.
	w.propose(w.options()).streams()
	require.NoError(t, w.insert(3))
}

func TestSyncBesideAWriterIsPassing(t *testing.T) {
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	_, err := walproposer.Sync(w.ctx(), walproposer.SyncOptions{
		Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline,
	})
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, w.insert(2), "the writer sees that the higher term added nothing, and takes the next one")
	t.Log("back after", time.Since(began))
}

func TestFoundIsRepeatable(t *testing.T) {
	w := newWorld(t, computetest.Options{})
	w.found()
	p := w.propose(w.options())
	p.streams()
	require.NoError(t, w.insert(1))
	w.found()
	for _, s := range w.statuses() {
		require.False(t, s.Joining)
		require.Len(t, s.Configuration.Members, 3)
	}
}

func TestTimelineMayBeNamed(t *testing.T) {
	w := newWorld(t, computetest.Options{})
	o := w.options()
	o.Timeline = "main"
	w.propose(o).streams()
	o.Timeline = "nowhere"
	o.Slot = "unused"
	isRefused(t, w.propose(o).wait())
}
