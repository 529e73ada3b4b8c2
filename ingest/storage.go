package ingest

import (
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations and flags of resource manager Storage (src/include/catalog/storage_xlog.h).
const (
	storageCreate   = 0x10
	storageTruncate = 0x20

	truncateHeap = 1
	truncateVM   = 2
	truncateFSM  = 4
)

func (in *Ingester) storage(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	switch r.Op() {
	case storageCreate:
		rel, fork := b.RelFile(), b.U32()
		if b.Bad || fork > uint32(walrecord.ForkInit) {
			return errTruncated
		}
		f := relFork{rel, walrecord.Fork(fork)}
		if f.fork == walrecord.ForkMain {
			in.eventCreate(r, rel)
		}
		return in.create(f, r.End)
	case storageTruncate:
		blocks, rel, flags := b.U32(), b.RelFile(), b.U32()
		if b.Bad {
			return errTruncated
		}
		in.eventCut(r, rel, blocks)
		return in.truncate(r, rel, blocks, flags)
	}
	return errUnknown
}

// truncate cuts a relation's heap and what describes it (smgr_redo).
func (in *Ingester) truncate(r *walrecord.Record, rel walrecord.RelFile, blocks, flags uint32) error {
	main := relFork{rel, walrecord.ForkMain}
	if err := in.create(main, r.End); err != nil {
		return err
	}
	if flags&truncateHeap != 0 {
		if err := in.cut(main, blocks, r.End); err != nil {
			return err
		}
	}
	if flags&truncateFSM != 0 {
		if err := in.truncateFSM(r, rel, blocks); err != nil {
			return err
		}
	}
	if flags&truncateVM != 0 {
		return in.truncateMap(r, rel, blocks)
	}
	return nil
}

// truncateMap clears the bits of blocks that are gone on the last page that
// stays (visibilitymap_prepare_truncate).
func (in *Ingester) truncateMap(r *walrecord.Record, rel walrecord.RelFile, blocks uint32) error {
	f := relFork{rel, walrecord.ForkVM}
	s, err := in.size(f)
	if err != nil || !s.exists {
		return err
	}
	keep := page.MapBlock(blocks)
	if blocks%page.HeapPerMap != 0 {
		if keep < s.blocks {
			at := len(in.out.arena)
			in.out.arena = pagekey.AppendMapTruncate(in.out.arena, blocks)
			in.addFrom(at, pagekey.Block(rel, f.fork, keep), r.End, pagestore.Delta)
		}
		keep++
	}
	return in.cut(f, keep, r.End)
}

// truncateFSM empties the slots of blocks that are gone on the last page that
// stays (FreeSpaceMapPrepareTruncateRel).
func (in *Ingester) truncateFSM(r *walrecord.Record, rel walrecord.RelFile, blocks uint32) error {
	f := relFork{rel, walrecord.ForkFSM}
	s, err := in.size(f)
	if err != nil || !s.exists {
		return err
	}
	leaf, slot := blocks/pagekey.FSMSlots, blocks%pagekey.FSMSlots
	keep := fsmBlock(leaf)
	if slot > 0 {
		if keep >= s.blocks {
			return nil
		}
		at := len(in.out.arena)
		in.out.arena = pagekey.AppendFSMTruncate(in.out.arena, uint16(slot))
		in.addFrom(at, pagekey.Block(rel, f.fork, keep), r.End, pagestore.Delta)
		keep++
	}
	return in.cut(f, keep, r.End)
}

// fsmBlock is where a leaf page of the free space map lies: its tree of three
// levels is stored depth first (fsm_logical_to_physical).
func fsmBlock(leaf uint32) uint32 {
	n := leaf
	pages := uint32(0)
	for range 3 {
		pages += n + 1
		n /= pagekey.FSMSlots
	}
	return pages - 1
}
