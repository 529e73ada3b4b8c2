package pageserver

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/ingest"
	"github.com/walhaven/walhaven/internal/config"
	"github.com/walhaven/walhaven/pagestore"
)

// What the parts may take is less than what the process may, with room for the
// garbage collector.
func TestMemoryIsDivided(t *testing.T) {
	for _, total := range []int64{minMemory, 256 << 20, 512 << 20, 16 << 30} {
		m := divideMemory(total)
		live := m.live()
		require.Less(t, live, m.heap*95/100, total)
		require.Less(t, m.heap, total)
		require.Less(t, live+3*m.record, m.heap, "a large record")
		require.GreaterOrEqual(t, m.record, int64(leastRecord), "commits that drop thousands of tables are not refused")
		require.Greater(t, m.value, min(m.record, mostValue-1), "what a record becomes is not refused")
		require.GreaterOrEqual(t, divideMemory(memoryFor(m.record)).record, m.record)
		require.LessOrEqual(t, memoryFor(m.record), total+16<<20)
		require.GreaterOrEqual(t, m.layer, int64(2<<20), "a layer is worth a file")
	}
}

// The store takes what the largest record becomes, the state of a prepared
// transaction.
func TestValuesAreAsLargeAsRecords(t *testing.T) {
	for _, total := range []int64{minMemory, 512 << 20, 2 << 30} {
		o := Options{Config: DefaultConfig()}
		o.Config.Memory = config.Bytes(total)
		p := newPageStorage(t.TempDir(), &o, slog.New(slog.DiscardHandler))
		require.Greater(t, p.options.MaxValueSize, p.maxRecord)
	}
}

func TestTooLargeHasAWayOut(t *testing.T) {
	require.NoError(t, withWayOut(nil))
	require.ErrorContains(t, withWayOut(&ingest.RecordSizeError{Size: 100 << 20, Limit: 8 << 20}), "start the pageserver with --memory")
	err := withWayOut(fmt.Errorf("put: %w", pagestore.ErrTooLarge))
	require.ErrorIs(t, err, pagestore.ErrTooLarge)
	require.ErrorContains(t, err, "with more --memory")
}

// The sizes of records in docs/operations.md.
func TestRecordsThatThereIsMemoryFor(t *testing.T) {
	for total, least := range map[int64]int64{192: 8, 256: 8, 512: 26, 1024: 64, 4096: 295} {
		m := divideMemory(total << 20)
		require.GreaterOrEqual(t, m.record>>20, least, total)
		if outsideHeap > 0 {
			require.Equal(t, least, m.record>>20, total)
		}
	}
}
