package monotonic

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestInstantsAreInOrder(t *testing.T) {
	before := Now()
	now := time.Now()
	after := Now()
	require.LessOrEqual(t, before, At(now))
	require.LessOrEqual(t, At(now), after)
	require.Equal(t, int64(time.Hour), At(now.Add(time.Hour))-At(now))
	require.Negative(t, Until(before))
	require.Positive(t, Until(At(now.Add(time.Hour))))
	require.GreaterOrEqual(t, Since(before), time.Duration(after-before))
}

// TestWallClockDoesNotCount: a time whose wall clock was set back has the instant
// that it had.
func TestWallClockDoesNotCount(t *testing.T) {
	stripped := time.Now().Round(0)
	require.InDelta(t, At(time.Now()), At(stripped), float64(time.Minute), "a time without a monotonic reading is taken by the wall clock")
	require.Equal(t, int64(1), max(At(time.Unix(1, 0)), 1), "long ago is before the program started")
}
