//go:build !pebblecache

package pagestore

import "github.com/cockroachdb/pebble/v2/sstable"

// blockCache keeps nothing in builds without the tag pebblecache: blocks come
// from the kernel's page cache and are uncompressed for each read.
type blockCache struct {
	attach func(o *sstable.ReaderOptions, number uint64)
	evict  func(number uint64)
	close  func()
}

func newBlockCache(int64) blockCache {
	return blockCache{
		attach: func(*sstable.ReaderOptions, uint64) {},
		evict:  func(uint64) {},
		close:  func() {},
	}
}
