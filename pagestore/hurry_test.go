package pagestore

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// While layers fill quickly, merges wait until runs are very many; once they do
// not, those there are get merged.
func TestMergesLeaveTheProcessorsToPuts(t *testing.T) {
	o := smallOptions(vfs.NewMem())
	now := time.Unix(1000, 0)
	o.Now = func() time.Time { return now }
	s, err := Open("store", o)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	tl, err := s.Create(timelineID(0), 0)
	require.NoError(t, err)
	lsn := wal.LSN(0)
	fill := func() {
		for range 4 { // Two of them fill a layer, and the next put sees it.
			lsn++
			e := []Entry{{Key: testKey(int(lsn) % 10), LSN: lsn, Kind: Image, Value: make([]byte, 1<<10)}}
			require.NoError(t, tl.Put(t.Context(), Batch{Entries: e, LSN: lsn}))
		}
		require.NoError(t, tl.Flush(t.Context()))
	}
	merged := func() bool {
		done, err := tl.CompactIfWorthwhile(t.Context())
		require.NoError(t, err)
		return done
	}
	for tl.Info().Runs < o.CompactRuns {
		fill()
	}
	require.False(t, merged(), "in a hurry")
	now = now.Add(hurry)
	require.True(t, merged(), "not any more")

	for tl.Info().Runs < hurriedRuns*o.CompactRuns {
		require.False(t, merged())
		fill()
	}
	require.True(t, merged(), "too many")
}

// Layers that are flushed while much is put have larger blocks, and merged ones the
// usual ones.
func TestBlocksAreLargerInAHurry(t *testing.T) {
	o := smallOptions(vfs.NewMem())
	o.MemLayerSize, o.LayerSize = 1<<20, 1<<20
	now := time.Unix(1000, 0)
	o.Now = func() time.Time { return now }
	s, err := Open("store", o)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	tl, err := s.Create(timelineID(0), 0)
	require.NoError(t, err)
	lsn := wal.LSN(0)
	flushed := func() (blocks uint64) {
		for key := range 1000 {
			lsn++
			e := []Entry{{Key: testKey(key), LSN: lsn, Kind: Image, Value: make([]byte, 100)}}
			require.NoError(t, tl.Put(t.Context(), Batch{Entries: e, LSN: lsn}))
		}
		require.NoError(t, tl.Flush(t.Context()))
		return blocksOf(t, tl)
	}
	hurried := flushed()
	now = now.Add(hurry)
	calm := flushed()
	require.Greater(t, calm, hurried*3/2)
	require.NoError(t, tl.Compact(t.Context()))
	require.Greater(t, blocksOf(t, tl), hurried*3/2)
}

// blocksOf is how many blocks the newest run has.
func blocksOf(t *testing.T, tl *Timeline) (blocks uint64) {
	m := tl.acquire()
	require.NotNil(t, m)
	defer tl.release(m)
	for _, l := range m.runs[0].layers {
		_, reader, err := l.acquire(t.Context())
		require.NoError(t, err)
		defer l.release()
		p, err := reader.ReadPropertiesBlock(t.Context(), nil)
		require.NoError(t, err)
		blocks += p.NumDataBlocks
	}
	return blocks
}
