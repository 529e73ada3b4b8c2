//go:build cgo

package pageserver

// outsideHeap is what the C libraries for compression take, in bytes. With cgo the
// cache of blocks lies outside of the heap, too.
const outsideHeap = 48 << 20
