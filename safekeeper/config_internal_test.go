package safekeeper

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConnectionsAreBounded(t *testing.T) {
	for n, ok := range map[int]bool{-1: false, 0: false, 1: true, 5000: true, math.MaxInt: false} {
		c := DefaultConfig()
		c.ID, c.DataDir, c.MaxConnections = 1, t.TempDir(), n
		if ok {
			require.NoError(t, c.check())
		} else {
			require.ErrorContains(t, c.check(), "--max-connections must be 1 to ")
		}
	}
}
