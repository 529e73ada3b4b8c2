package ingest

import (
	"errors"
	"fmt"
	"math"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// maxKnownSizes bounds how many sizes are kept in memory.
const maxKnownSizes = 1 << 17

// errBlock says that a record names a block that no relation can have.
var errBlock = errors.New("block number is out of range")

type relSize struct {
	blocks uint32
	exists bool
}

// sizes are the forks' sizes that were looked up or changed. What the batch in
// progress says of a size is always here.
type sizes struct {
	known map[relFork]relSize
}

// limit forgets sizes when they are too many. The batch is empty then.
func (s *sizes) limit() {
	if len(s.known) > maxKnownSizes {
		clear(s.known)
	}
}

// size is a fork's size as of the record in progress.
func (in *Ingester) size(f relFork) (relSize, error) {
	if s, ok := in.sizes.known[f]; ok {
		return s, nil
	}
	pages, exists, err := in.lookUpSize(pagekey.RelationSize(f.rel, f.fork))
	if err != nil {
		return relSize{}, err
	}
	s := relSize{pages, exists}
	in.sizes.known[f] = s
	return s, nil
}

// lookUpSize reads a size as it was put.
func (in *Ingester) lookUpSize(key pagestore.Key) (pages uint32, exists bool, err error) {
	switch err := in.tl.Get(in.ctx, key, in.tl.LastLSN(), &in.value); {
	case errors.Is(err, pagestore.ErrNotFound):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("look a size up: %w", err)
	}
	pages, err = pagekey.ParseSize(in.value.Image)
	return pages, true, err
}

func (in *Ingester) setSize(f relFork, blocks uint32, lsn wal.LSN) {
	in.sizes.known[f] = relSize{blocks, true}
	in.addSize(pagekey.RelationSize(f.rel, f.fork), lsn, blocks)
}

// touch makes the fork at least so long that it has the block. A fork that does
// not exist is made, as recovery does.
func (in *Ingester) touch(f relFork, block uint32, lsn wal.LSN) error {
	if block == math.MaxUint32 {
		return errBlock
	}
	s, err := in.size(f)
	if err != nil || s.exists && s.blocks > block {
		return err
	}
	in.setSize(f, block+1, lsn)
	return nil
}

// create makes an empty fork; one that exists stays as it is.
func (in *Ingester) create(f relFork, lsn wal.LSN) error {
	s, err := in.size(f)
	if err != nil || s.exists {
		return err
	}
	in.setSize(f, 0, lsn)
	return nil
}

// cut shortens a fork to so many blocks if it is longer.
func (in *Ingester) cut(f relFork, blocks uint32, lsn wal.LSN) error {
	s, err := in.size(f)
	if err != nil || !s.exists || s.blocks <= blocks {
		return err
	}
	in.drop(pagekey.BlocksFrom(f.rel, f.fork, blocks), lsn)
	in.setSize(f, blocks, lsn)
	return nil
}

// dropRelation removes all forks of a relation.
func (in *Ingester) dropRelation(rel walrecord.RelFile, lsn wal.LSN) error {
	dropped := false
	for fork := walrecord.ForkMain; fork <= walrecord.ForkInit; fork++ {
		f := relFork{rel, fork}
		s, err := in.size(f)
		if err != nil {
			return err
		}
		if s.exists {
			in.sizes.known[f] = relSize{}
			in.add(pagekey.RelationSize(rel, fork), lsn, pagestore.Tombstone, nil)
			dropped = true
		}
	}
	if dropped {
		in.drop(pagekey.BlocksOf(rel), lsn)
	}
	return nil
}
