package walproposer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/walproposer"
)

// A server that writes nothing is not ready either while its next commit would
// wait, and says since when.
func TestIdleServerWithoutAQuorumIsNotReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	var st walproposer.Status
	live := func(n int) time.Time {
		t.Helper()
		require.Eventually(t, func() bool { st = p.Status(); return st.Live == n }, patience, 10*time.Millisecond, "%d safekeepers", n)
		return st.LiveSince
	}
	all := live(3)
	require.False(t, all.IsZero())
	w.keepers[0].down()
	live(2)
	w.keepers[1].down()
	require.Eventually(t, func() bool {
		st = p.Status()
		return st.State == "waiting" && strings.Contains(st.Reason, "1 of the safekeepers answers, and a quorum is 2")
	}, patience, 10*time.Millisecond)
	alone := live(1)
	require.True(t, alone.After(all), "%s is not after %s", alone, all)
	w.keepers[1].up()
	p.streams()
	require.True(t, live(2).After(alone))
}
