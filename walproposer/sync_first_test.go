package walproposer_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/walproposer"
)

// An election that nobody followed up with bytes must not leave a timeline that
// never commits anything.
func TestTermWithoutBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	_, err := walproposer.Sync(w.ctx(), walproposer.SyncOptions{
		Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline, Logger: testLogger(t),
	})
	require.NoError(t, err)
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	done := w.begin(1)
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatalf("a commit does not return; status %+v", p.Status())
	}
}
