package chaos

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// briefly is how long things are broken at least in `make test`, where each kind
	// of fault happens once, at length in `make test-long`.
	briefly  = 60 * time.Second
	atLength = time.Hour
	// seedVariable repeats a schedule: the same faults in the same order, though
	// processes are not as repeatable.
	seedVariable = "WALHAVEN_CHAOS_SEED"
	// timeVariable is a duration instead of both.
	timeVariable = "WALHAVEN_CHAOS_TIME"
)

// TestChaos breaks things one after the other, and sometimes two at once, while
// clients write. When all is whole again commits go on, and at the end nothing is
// missing.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, seedVariable)
	}
	n := newNetwork(t)
	t.Logf("%s=%d; %s", seedVariable, seed, n)
	began := time.Now()
	w := newWorld(t, n, seed)
	load := w.startWorkload()
	w.awaitCommits(50, 10)
	t.Logf("everything runs after %s", time.Since(began).Round(time.Second))
	w.breakThings(until(t))
	w.requireStandbyFollows()
	load.end()
	w.requireNothingLost()
	w.requireStandbyFollows()
	w.requireRows(w.standby())
	w.requireSameWAL()
	require.NoError(t, w.history.checkSwaps())
	w.report()
}

// until is when the last fault begins.
func until(t *testing.T) time.Time {
	if text := os.Getenv(timeVariable); text != "" {
		d, err := time.ParseDuration(text)
		require.NoError(t, err, timeVariable)
		return time.Now().Add(d)
	}
	if os.Getenv("WALHAVEN_TEST_LONG") != "" {
		return time.Now().Add(atLength)
	}
	return time.Now().Add(briefly)
}
