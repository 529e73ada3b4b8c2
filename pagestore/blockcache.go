package pagestore

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// blockCache keeps uncompressed blocks of all layers of a store. Pebble keeps
// the types of its cache to itself, so these functions close over them.
type blockCache struct {
	attach func(o *sstable.ReaderOptions, number uint64)
	evict  func(number uint64)
	close  func()
}

func newBlockCache(size int64) blockCache {
	blocks := pebble.NewCache(size)
	handle := blocks.NewHandle()
	attach := func(o *sstable.ReaderOptions, number uint64) {
		o.CacheOpts.CacheHandle = handle
		setNumber(&o.CacheOpts.FileNum, number)
	}
	return blockCache{
		attach: attach,
		evict: func(number uint64) {
			var o sstable.ReaderOptions
			attach(&o, number)
			handle.EvictFile(o.CacheOpts.FileNum)
		},
		close: func() {
			handle.Close()
			blocks.Unref()
		},
	}
}

// setNumber sets a number of a type that Pebble keeps to itself.
func setNumber[T ~uint64](p *T, n uint64) { *p = T(n) }
