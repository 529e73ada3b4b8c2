package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// redo calls the resource manager for a block that needs it. The calls are
// direct, not through a table of functions, so that c stays on the stack.
// Resource managers that are missing have records without block references:
// their effects are on files, SLRUs and counters.
func (c *ctx) redo(p *page.Page) error {
	switch c.rec.RMID {
	case walrecord.RmgrHeap:
		return redoHeap(c, p)
	case walrecord.RmgrHeap2:
		return redoHeap2(c, p)
	case walrecord.RmgrBtree:
		return redoBtree(c, p)
	case walrecord.RmgrHash:
		return redoHash(c, p)
	case walrecord.RmgrGin:
		return redoGin(c, p)
	case walrecord.RmgrGist:
		return redoGist(c, p)
	case walrecord.RmgrSPGist:
		return redoSPGist(c, p)
	case walrecord.RmgrBRIN:
		return redoBRIN(c, p)
	case walrecord.RmgrSequence:
		return redoSequence(c, p)
	case walrecord.RmgrGeneric:
		return redoGeneric(c, p)
	case walrecord.RmgrXLOG:
		c.stamp = false // A block of FPI_FOR_HINT without an image.
		return nil
	}
	return errNoRedo
}

// restored makes the few changes that a resource manager makes even after the
// record's image of the block was restored.
func (c *ctx) restored(p *page.Page) error {
	switch c.rec.RMID {
	case walrecord.RmgrHash:
		return restoredHash(c, p)
	case walrecord.RmgrGist:
		return restoredGist(c, p)
	}
	return nil
}
