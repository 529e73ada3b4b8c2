package pageread

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

var timelineID = wal.TimelineID{15: 7}

// world is a store with pages whose every state is known.
type world struct {
	store    *pagestore.Store
	timeline *pagestore.Timeline
	position *Position
	cache    *Cache
	reader   *Reader

	rand  *rand.Rand
	pages map[pagestore.Key][]state
	lsn   wal.LSN
}

// state is a page as of an LSN; nil when it did not exist.
type state struct {
	lsn  wal.LSN
	page *page.Page
}

const worldStart = 0x1000000

func newWorld(t testing.TB, seed uint64, cacheBytes int64) *world {
	t.Helper()
	w := &world{rand: rand.New(rand.NewPCG(seed, 1)), pages: map[pagestore.Key][]state{}, lsn: worldStart}
	var err error
	w.store, err = pagestore.Open("store", pagestore.Options{
		FS: vfs.NewMem(), Materialize: pagekey.Materialize, MemLayerSize: 64 << 10, CompactRuns: 3, MaxChain: 5, MaxChainSize: 2 << 10,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.store.Close()) })
	w.timeline, err = w.store.Create(timelineID, worldStart)
	require.NoError(t, err)
	w.position = NewPosition(worldStart)
	w.cache = NewCache(cacheBytes, nil)
	w.reader = New(Options{Timeline: w.timeline, Position: w.position, Cache: w.cache})
	return w
}

var (
	worldRel  = walrecord.RelFile{Tablespace: 1663, Database: 5, Relation: 16384}
	worldKeys = func() (keys []pagestore.Key) {
		for i := range 12 {
			keys = append(keys, pagekey.Block(worldRel, walrecord.ForkVM, uint32(i)), pagekey.SLRUPage(pagekey.CLOG, uint64(i)))
		}
		return keys
	}()
)

// put makes some changes to some pages, all of one record.
func (w *world) put(t testing.TB) {
	t.Helper()
	w.lsn += wal.LSN(8 * (1 + w.rand.IntN(20)))
	b := pagestore.Batch{LSN: w.lsn}
	for range 1 + w.rand.IntN(3) {
		key := worldKeys[w.rand.IntN(len(worldKeys))]
		b.Entries = append(b.Entries, w.change(key))
	}
	require.NoError(t, w.timeline.Put(context.Background(), b))
	w.position.Advance(w.lsn)
}

func (w *world) change(key pagestore.Key) pagestore.Entry {
	e := pagestore.Entry{Key: key, LSN: w.lsn, Kind: pagestore.Delta}
	next := new(page.Page)
	if old := w.at(key, w.lsn); old != nil {
		*next = *old
	}
	switch w.rand.IntN(12) {
	case 0:
		e.Kind, next = pagestore.Tombstone, nil
	case 1:
		*next = page.Page{}
		next.Init(0)
		for i := page.HeaderSize; i < page.Size; i++ {
			next[i] = byte(w.rand.Uint32())
		}
		e.Kind, e.Value = pagestore.Image, pagekey.AppendPage(nil, next)
	default:
		n := uint16(page.HeaderSize*4 + w.rand.IntN(pagekey.CLOGPerPage-page.HeaderSize*4))
		status := pagekey.Status(1 + w.rand.IntN(2))
		e.Value = pagekey.AppendNumber(pagekey.BeginCLOG(nil, status), n)
		next[n/4] = next[n/4]&^(3<<(n%4*2)) | byte(status)<<(n%4*2)
	}
	w.pages[key] = append(w.pages[key], state{w.lsn, next})
	return e
}

// at is what the page must be.
func (w *world) at(key pagestore.Key, lsn wal.LSN) *page.Page {
	states := w.pages[key]
	for i := len(states) - 1; i >= 0; i-- {
		if states[i].lsn <= lsn {
			return states[i].page
		}
	}
	return nil
}

// check reads a page and compares.
func (w *world) check(t testing.TB, key pagestore.Key, at At) {
	t.Helper()
	want := w.at(key, at.LSN)
	got, err := w.reader.page(context.Background(), key, at)
	if want == nil {
		require.ErrorIs(t, err, pagestore.ErrNotFound, "%s at %s", key, at.LSN)
		return
	}
	require.NoError(t, err)
	if *want != *got { // Comparing by reflection would be most of the test.
		require.Equal(t, *want, *got, "%s at %s", key, at.LSN)
	}
}
