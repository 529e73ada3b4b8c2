package walproposer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAttendance(t *testing.T) {
	a := newAttendance()
	require.Zero(t, a.count(liveFor))
	require.True(t, a.since().IsZero())
	a.leaves(0) // never came
	require.True(t, a.since().IsZero())

	began := time.Now()
	a.comes(0)
	a.comes(1)
	require.Equal(t, 2, a.count(time.Hour))
	came := a.since()
	require.WithinRange(t, came, began.Add(-time.Millisecond), time.Now())
	a.answers(0)
	require.WithinDuration(t, came, a.since(), 30*time.Second, "an answer changes nothing")

	require.Zero(t, a.count(0), "how old an answer may be is the asker's to say")
	require.True(t, a.streams(1))

	a.leaves(1)
	require.Equal(t, 1, a.count(time.Hour))
	require.False(t, a.streams(1))
	require.WithinDuration(t, time.Now(), a.since(), 30*time.Second)
}
