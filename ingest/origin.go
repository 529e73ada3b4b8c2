package ingest

import (
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of resource manager ReplicationOrigin
// (src/include/replication/origin.h).
const (
	originSet  = 0x00
	originDrop = 0x10
)

// origin is replorigin_redo.
func (in *Ingester) origin(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	switch r.Op() {
	case originSet:
		remote, id, force := b.LSN(), b.U16(), b.U8()
		if b.Bad {
			return errTruncated
		}
		if force == 0 {
			return in.advanceOrigin(id, remote, r.End)
		}
		in.putOrigin(id, remote, r.End)
		return nil
	case originDrop:
		id := b.U16()
		if b.Bad {
			return errTruncated
		}
		in.add(pagekey.Origin(id), r.End, pagestore.Tombstone, nil)
		return nil
	}
	return errUnknown
}

// doNotReplicate stands in a record whose changes are to go nowhere
// (DoNotReplicateId); there is no progress of it.
const doNotReplicate = 0xFFFF

// advanceOrigin moves an origin's progress forward, never back.
func (in *Ingester) advanceOrigin(id uint16, remote, lsn wal.LSN) error {
	if id == doNotReplicate {
		return nil
	}
	known, err := in.originProgress(id)
	if err != nil {
		return err
	}
	in.putOrigin(id, max(remote, known), lsn)
	return nil
}

func (in *Ingester) putOrigin(id uint16, remote, lsn wal.LSN) {
	at := len(in.out.arena)
	in.out.arena = pagekey.AppendOrigin(in.out.arena, remote, lsn)
	in.addFrom(at, pagekey.Origin(id), lsn, pagestore.Image)
}

// originProgress is the remote LSN as of the record in progress: that of the
// batch, else what was put.
func (in *Ingester) originProgress(id uint16) (wal.LSN, error) {
	key := pagekey.Origin(id)
	for i := len(in.out.entries) - 1; i >= 0; i-- {
		e := &in.out.entries[i]
		if e.Key != key {
			continue
		}
		if e.Kind == pagestore.Tombstone {
			return 0, nil
		}
		remote, _, err := pagekey.ParseOrigin(e.Value)
		return remote, err
	}
	err := in.tl.Get(in.ctx, key, in.tl.LastLSN(), &in.value)
	if errors.Is(err, pagestore.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look replication origin %d up: %w", id, err)
	}
	remote, _, err := pagekey.ParseOrigin(in.value.Image)
	return remote, err
}
