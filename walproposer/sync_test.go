package walproposer_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/walproposer"
)

func TestSyncSettlesTheEndOfWAL(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// A headless sync is no writer: the real one need not wait --takeover-after until
// it may come back.
func TestSyncDoesNotCountAsAWriter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	o := w.options()
	o.TakeoverAfter = patience
	p := w.propose(o)
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	_, err := walproposer.Sync(w.ctx(), walproposer.SyncOptions{
		Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline,
	})
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, w.insert(2))
	require.Less(t, time.Since(began), patience/2)
}

func TestFoundIsRepeatable(t *testing.T) {
	t.Parallel()
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

// A member that lost the timeline, but not its identity, may have voted and
// acknowledged: founding again must not make a voter of it that holds nothing.
func TestFoundingAgainMakesNoVoterWithoutItsPast(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	p.stop()
	lose := func(i int) {
		w.keepers[i].down()
		require.NoError(t, os.RemoveAll(filepath.Join(w.keepers[i].dir, w.id.Tenant.String(), w.id.Timeline.String())))
		w.keepers[i].up()
		require.Empty(t, w.statusesOf(i))
	}
	lose(2)
	w.found()
	require.True(t, w.statusesOf(2)[0].Joining)
	for _, s := range w.statusesOf(0, 1) {
		require.False(t, s.Joining)
	}
	w.propose(w.options()).streams()
	require.NoError(t, w.insert(2))
}

// While a member does not answer nobody knows whether the others have a past.
func TestFoundingAgainAsksEveryone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	w.keepers[0].down()
	w.keepers[2].down()
	require.NoError(t, os.RemoveAll(filepath.Join(w.keepers[2].dir, w.id.Tenant.String(), w.id.Timeline.String())))
	w.keepers[2].up()
	again := walproposer.FoundOptions{
		Postgres: w.pg.Conninfo(), Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline,
	}
	require.ErrorContains(t, walproposer.Found(w.ctx(), again), "every member")
	w.keepers[0].up()
	w.found()
	require.False(t, w.statusesOf(2)[0].Joining, "nothing was ever voted: it is an interrupted founding")
}

func TestTimelineMayBeNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	o := w.options()
	o.Timeline = "main"
	w.propose(o).streams()
	o.Timeline = "nowhere"
	o.Slot = "unused"
	isRefused(t, w.propose(o).wait())
}
