package walproposer_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
)

func TestCommitIsAcknowledgedByAQuorum(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	for i := range 20 {
		require.NoError(t, w.insert(i))
	}
	require.Eventually(t, func() bool { ok, _ := p.health.Status(); return ok }, patience, 10*time.Millisecond)
	p.stop()
	w.stillWaits(w.begin(100))
}
