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
		live := m.live()
		require.Less(t, live, m.heap*95/100, total)
		require.Less(t, m.heap, total)
		require.Less(t, live+3*m.record, m.heap, "a large record")
		require.GreaterOrEqual(t, m.record, int64(1<<20), "commits of thousands of subtransactions are not refused")
		require.GreaterOrEqual(t, divideMemory(memoryFor(m.record)).record, m.record)
		require.LessOrEqual(t, memoryFor(m.record), total+16<<20)
		require.GreaterOrEqual(t, m.layer, int64(2<<20), "a layer is worth a file")
	}
}
