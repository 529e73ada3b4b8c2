package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// VisibilityClear is a change to the visibility map that a record makes without
// referencing the map's page.
type VisibilityClear struct {
	Rel       walrecord.RelFile
	MapBlock  uint32 // of fork vm
	HeapBlock uint32
	Bits      uint8 // page.MapAllVisible and page.MapAllFrozen
}

// Apply clears the bits on page MapBlock of the map and reports whether any was
// set. pd_lsn stays as it is.
func (v VisibilityClear) Apply(p *page.Page) bool { return p.ClearMapBits(v.HeapBlock, v.Bits) }

// AppendVisibilityClears appends what r does to visibility maps without
// referencing them, as heap records of servers before 17.11 and 18.6 do; later
// ones reference the map's page, which is then a block like any other.
//
// These changes are made whatever the LSN of the map's page and of the heap
// page, and also when the heap page is restored from an image. A map page that
// does not exist stays so. No other page changes without a reference but the
// map's and free space map's ends at Storage/TRUNCATE (see
// [page.Page.TruncateMap]) and the free space map, which is a hint throughout.
func AppendVisibilityClears(dst []VisibilityClear, r *walrecord.Record) []VisibilityClear {
	if r.RMID != walrecord.RmgrHeap && r.RMID != walrecord.RmgrHeap2 {
		return dst
	}
	var clears [2]heapClear
	for _, c := range clears[:heapClears(r, &clears)] {
		if !referencesMap(r, c.heap) {
			dst = append(dst, VisibilityClear{
				Rel: c.heap.Rel, MapBlock: page.MapBlock(c.heap.Block), HeapBlock: c.heap.Block, Bits: c.bits,
			})
		}
	}
	return dst
}

// heapClear says that a record takes bits of a heap page off the map.
type heapClear struct {
	heap *walrecord.Block
	bits uint8
}

// heapClears lists what a record of the heap takes off the map.
func heapClears(r *walrecord.Record, clears *[2]heapClear) int {
	flags, bits := uint8(0), uint8(page.MapBits)
	op := r.Info & 0x70
	at := 7
	switch {
	case r.RMID == walrecord.RmgrHeap2 && op == opMultiInsert:
		at = 0
	case r.RMID == walrecord.RmgrHeap2 && op == opLockUpdated,
		r.RMID == walrecord.RmgrHeap && op == opLock:
		bits = page.MapAllFrozen
	case r.RMID == walrecord.RmgrHeap2:
		return 0
	case op == opInsert:
		at = 2
	case op == opDelete, op == opUpdate, op == opHotUpdate:
	default:
		return 0
	}
	if at >= len(r.MainData) || len(r.Blocks) == 0 || r.Blocks[0].ID != 0 {
		return 0
	}
	flags = r.MainData[at]
	first := &r.Blocks[0]
	if r.RMID == walrecord.RmgrHeap && (op == opUpdate || op == opHotUpdate) {
		return updateClears(r, first, flags, clears)
	}
	if flags&flagVisibleCleared == 0 {
		return 0
	}
	clears[0] = heapClear{first, bits}
	return 1
}

// updateClears: block 0 is the new version's page, block 1 the old one's if that
// is another.
func updateClears(r *walrecord.Record, first *walrecord.Block, flags uint8, clears *[2]heapClear) int {
	n := 0
	if flags&flagNewVisibleCleared != 0 {
		clears[n] = heapClear{first, page.MapBits}
		n++
	}
	if flags&flagVisibleCleared != 0 {
		old := first
		if len(r.Blocks) > 1 && r.Blocks[1].ID == 1 {
			old = &r.Blocks[1]
		}
		clears[n] = heapClear{old, page.MapBits}
		n++
	}
	return n
}

// referencesMap reports whether r references the page of the map that has the
// bits of a heap block.
func referencesMap(r *walrecord.Record, heap *walrecord.Block) bool {
	for i := range r.Blocks {
		if b := &r.Blocks[i]; b.Fork == walrecord.ForkVM && b.Rel == heap.Rel && b.Block == page.MapBlock(heap.Block) {
			return true
		}
	}
	return false
}

// redoMapClear takes bits off a map's page that the record references.
func redoMapClear(c *ctx, p *page.Page) error {
	c.stamp = false
	if p.IsNew() {
		return nil
	}
	var clears [2]heapClear
	for _, h := range clears[:heapClears(c.rec, &clears)] {
		if h.heap.Rel == c.blk.Rel && page.MapBlock(h.heap.Block) == c.blk.Block && p.ClearMapBits(h.heap.Block, h.bits) {
			c.stamp = true
		}
	}
	return nil
}

// redoMapSet is Heap2/VISIBLE on block 0, a page of the map.
func redoMapSet(c *ctx, p *page.Page, flags uint8) error {
	heap := c.block(1)
	if heap == nil || page.MapBlock(heap.Block) != c.blk.Block {
		return errBadRecord
	}
	if p.IsNew() {
		p.Init(0)
	}
	bits := flags & page.MapBits
	c.stamp = p.MapBits(heap.Block) != bits
	p.SetMapBits(heap.Block, bits)
	return nil
}
