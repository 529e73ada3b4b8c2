package pageserver

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestChooserActivatesTheFirstAndReplacesTheGone(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newChooser[int]()
	require.True(t, c.join(1, 100, now))
	require.False(t, c.join(2, 300, now))
	require.False(t, c.join(3, 200, now))
	require.True(t, c.isActive(1))

	require.False(t, c.leave(3, now))
	require.False(t, c.join(3, 200, now))
	require.True(t, c.leave(1, now))
	require.True(t, c.isActive(2), "the one that announced most follows")
	require.True(t, c.leave(2, now))
	require.True(t, c.leave(3, now))
	require.False(t, c.isActive(3))
	require.True(t, c.join(4, 0, now))
}

func TestChooserTakesWorkFromTheSilent(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newChooser[int]()
	c.join(1, 100, now)
	c.join(2, 100, now)

	// Nothing to do: silence is no fault.
	now = now.Add(10 * time.Second)
	require.False(t, c.heard(2, 100, false, 100, now))

	// More is announced: the active one has a second to bring it.
	require.False(t, c.heard(2, 200, false, 100, now))
	now = now.Add(silenceLimit)
	require.True(t, c.heard(2, 200, false, 100, now))
	require.True(t, c.isActive(2))

	// The old one, back with more, waits for the new one's silence.
	require.False(t, c.heard(1, 300, false, 150, now.Add(silenceLimit-1)))
	require.False(t, c.heard(2, 300, true, 150, now.Add(silenceLimit-1)))
	require.False(t, c.heard(1, 300, false, 200, now.Add(silenceLimit)), "progress counts")
	require.True(t, c.heard(1, 300, false, 200, now.Add(2*silenceLimit)))
	require.True(t, c.isActive(1))
	require.False(t, c.heard(9, 900, true, 0, now), "not connected")
}
