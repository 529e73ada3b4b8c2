package pageserver

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What the parts may take is less than what the process may, with room for the
// garbage collector.
func TestMemoryIsDivided(t *testing.T) {
	for _, total := range []int64{minMemory, 512 << 20, 16 << 30} {
		m := divideMemory(total)
		live := m.pages + memLayers*m.layer + baseBytes/2
		if outsideHeap == 0 {
			live += m.blocks
		}
		require.Less(t, live, m.heap*95/100, total)
		require.Less(t, m.heap, total)
		require.GreaterOrEqual(t, m.layer, int64(2<<20), "a layer is worth a file")
	}
}
