//go:build !cgo

package pageserver

// outsideHeap is 0: without cgo all memory is the heap's.
const outsideHeap = 0
