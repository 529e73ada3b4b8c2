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
	// of fault happens once.
	briefly = 2 * time.Minute
	// seedVariable repeats a schedule: the same faults in the same order, though
	// processes are not as repeatable.
	seedVariable = "WALHAVEN_CHAOS_SEED"
	// timeVariable is a duration instead; `make chaos` sets it.
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
	early := os.Getenv("WALHAVEN_TEST_EARLY_PUSH") == "true"
	if early {
		t.Setenv("WALHAVEN_WALPROPOSER_EARLY_PUSH", "true")
	}
	n := newNetwork(t)
	t.Logf("%s=%d; early push: %t; %s", seedVariable, seed, early, n)
	began := time.Now()
	w := newWorld(t, n, seed)
	defer w.report()
	load := w.startWorkload()
	w.awaitCommits(50, 10)
	t.Logf("everything runs after %s", time.Since(began).Round(time.Second))
	w.breakThings(until(t))
	w.requireStandbyFollows()
	if early {
		w.requireEarlyPush()
	}
	load.end()
	w.requireNothingLost()
	values := w.readRegisters(w.primary.Load())
	w.history.ended(values)
	w.requireStandbyFollows()
	w.requireRows(w.standby())
	require.Equal(t, values, w.readRegisters(w.standby()), "registers on the standby")
	w.requireSameWAL()
	require.NoError(t, w.history.checkSwaps())
	w.sound = true
}

// until is when the last fault begins.
func until(t *testing.T) time.Time {
	if text := os.Getenv(timeVariable); text != "" {
		d, err := time.ParseDuration(text)
		require.NoError(t, err, timeVariable)
		return time.Now().Add(d)
	}
	return time.Now().Add(briefly)
}
