package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// MaskFor is the mask under which the page of b after r equals the server's.
func MaskFor(r *walrecord.Record, b *walrecord.Block) page.Mask {
	switch r.RMID {
	case walrecord.RmgrHeap, walrecord.RmgrHeap2:
		if b.Fork == walrecord.ForkVM {
			return page.MaskVisibilityMap
		}
		return page.MaskHeap
	case walrecord.RmgrBtree:
		return page.MaskBtree
	case walrecord.RmgrHash:
		return page.MaskHash
	case walrecord.RmgrGin:
		return page.MaskGin
	case walrecord.RmgrGist:
		return page.MaskGist
	case walrecord.RmgrSPGist:
		return page.MaskSPGist
	case walrecord.RmgrBRIN:
		return page.MaskBRIN
	case walrecord.RmgrSequence, walrecord.RmgrGeneric:
		return page.MaskPlain
	}
	return page.MaskImage
}
