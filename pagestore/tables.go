package pagestore

import (
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/sstable"
)

// tables bounds the open layer files of a store and owns its block cache.
type tables struct {
	max    int
	number atomic.Uint64 // of layers in the cache
	cache  blockCache

	mu   sync.Mutex
	open []*layer
	hand int // next one to look at
}

func (ts *tables) init(cacheSize int64, maxOpen int) {
	ts.max = maxOpen
	ts.cache = newBlockCache(cacheSize)
}

// options are those to read the layer that has number in the cache.
func (ts *tables) options(number uint64) sstable.ReaderOptions {
	o := sstable.ReaderOptions{Comparer: layerComparer, Comparers: layerComparers, KeySchemas: layerSchemas, Filters: layerFilters}
	ts.cache.attach(&o, number)
	return o
}

// opened counts l in and closes one that nobody has read lately when there are
// too many. The caller holds l.mu; other layers are only tried, so that two
// cannot wait for each other.
func (ts *tables) opened(l *layer) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.open = append(ts.open, l)
	for looked := 0; len(ts.open) > ts.max && looked < 2*len(ts.open); looked++ {
		ts.hand %= len(ts.open)
		victim := ts.open[ts.hand]
		if victim == l || !victim.retire() {
			ts.hand++
			continue
		}
		ts.open[ts.hand] = ts.open[len(ts.open)-1]
		ts.open = ts.open[:len(ts.open)-1]
	}
}

// retire closes the layer's table unless it is in use or was read since the
// last look.
func (l *layer) retire() bool {
	if !l.mu.TryLock() {
		return false
	}
	defer l.mu.Unlock()
	if l.reader == nil {
		return true // Was closed otherwise.
	}
	if l.recent || l.users > 0 {
		l.recent = false
		return false
	}
	_ = l.reader.Close() // Only read from.
	l.reader = nil
	return true
}
