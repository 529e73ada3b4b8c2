package walproposer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
)

// A server that writes nothing is not ready either while its next commit would
// wait, and says since when.
func TestIdleServerWithoutAQuorumIsNotReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	require.Eventually(t, func() bool { return p.Status().Live == 3 }, patience, 10*time.Millisecond)
	all := p.Status().LiveSince
	require.False(t, all.IsZero())
	w.keepers[0].down()
	require.Eventually(t, func() bool { return p.Status().Live == 2 }, patience, 10*time.Millisecond)
	w.keepers[1].down()
	require.Eventually(t, func() bool {
		st := p.Status()
		return st.State == "waiting" && strings.Contains(st.Reason, "1 of the safekeepers answers, and a quorum is 2")
	}, patience, 10*time.Millisecond)
	st := p.Status()
	require.Equal(t, 1, st.Live)
	require.True(t, st.LiveSince.After(all), "%s is not after %s", st.LiveSince, all)
	w.keepers[1].up()
	p.streams()
	require.Eventually(t, func() bool { return p.Status().Live == 2 }, patience, 10*time.Millisecond)
	require.True(t, p.Status().LiveSince.After(st.LiveSince))
}
