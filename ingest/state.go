package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo"
	"github.com/walhaven/walhaven/wal"
)

// xidStep is what the next xid under pagekey.Checkpoint is rounded up to a
// multiple of, so that it need not be put with each transaction.
const xidStep = 1024

// Numbers of pagekey.State.
const (
	stateOffsetsPage = 1 // page of multixact offsets that was made before its record
)

// noPage says that no page of multixact offsets was made early.
const noPage = math.MaxUint64

// state is what must be known of the past. All of it lies under keys of the
// timeline, as of each LSN.
type state struct {
	control    control
	settings   redo.Options
	checkpoint [pgdata.CheckPointSize]byte
	storedXID  uint64 // next xid in checkpoint, rounded up
	// offsetsPage was made by a record that needed its first entry; the record
	// that will make it must not empty it again.
	offsetsPage uint64
	commitTime  wal.Timestamp // the highest of all commits so far, 0 before the first
}

// load reads the state as of the timeline's last LSN.
func (in *Ingester) load(ctx context.Context) error {
	last := in.tl.LastLSN()
	get := func(key pagestore.Key) ([]byte, error) {
		err := in.tl.Get(ctx, key, last, &in.value)
		if errors.Is(err, pagestore.ErrNotFound) {
			return nil, nil
		}
		return in.value.Image, err
	}
	raw, err := get(pagekey.ControlFile())
	if err == nil && raw == nil {
		err = ErrNoControlFile
	}
	if err != nil {
		return err
	}
	s := &in.state
	if s.control, err = parseControl(raw); err != nil {
		return err
	}
	s.settings = s.control.settings()
	copy(s.checkpoint[:], s.control.checkpoint())
	if raw, err = get(pagekey.Checkpoint()); err != nil {
		return err
	} else if raw != nil && copy(s.checkpoint[:], raw) != pgdata.CheckPointSize {
		return fmt.Errorf("checkpoint of %d bytes", len(raw))
	}
	s.storedXID = roundXID(s.u64(pgdata.CheckPointNextXID))
	s.offsetsPage = noPage
	if raw, err = get(pagekey.State(stateOffsetsPage)); err != nil {
		return err
	} else if len(raw) == 8 {
		s.offsetsPage = binary.LittleEndian.Uint64(raw)
	}
	list, _, err := lastList(ctx, in.tl, last)
	if err != nil {
		return err
	}
	s.commitTime = list.Highest
	return nil
}

func roundXID(next uint64) uint64 { return (next + xidStep - 1) &^ (xidStep - 1) }

func (s *state) u32(at int) uint32            { return binary.LittleEndian.Uint32(s.checkpoint[at:]) }
func (s *state) u64(at int) uint64            { return binary.LittleEndian.Uint64(s.checkpoint[at:]) }
func (s *state) put32(at int, v uint32)       { binary.LittleEndian.PutUint32(s.checkpoint[at:], v) }
func (s *state) put64(at int, v uint64)       { binary.LittleEndian.PutUint64(s.checkpoint[at:], v) }
func (s *state) copyFrom(b []byte, at, n int) { copy(s.checkpoint[at:at+n], b[at:]) }

// putCheckpoint puts the running checkpoint.
func (in *Ingester) putCheckpoint(lsn wal.LSN) {
	in.state.put64(pgdata.CheckPointNextXID, in.state.storedXID)
	in.addCopy(pagekey.Checkpoint(), lsn, in.state.checkpoint[:])
}

// putControl puts pg_control.
func (in *Ingester) putControl(lsn wal.LSN) {
	in.addCopy(pagekey.ControlFile(), lsn, in.state.control)
}

// putState puts one of the states.
func (in *Ingester) putState(number uint32, lsn wal.LSN, v uint64) {
	at := len(in.out.arena)
	in.out.arena = binary.LittleEndian.AppendUint64(in.out.arena, v)
	in.addFrom(at, pagekey.State(number), lsn, pagestore.Image)
}

const firstNormalXID = 3

// advanceXID makes the next xid higher than xid.
func (in *Ingester) advanceXID(xid uint32, lsn wal.LSN) error {
	if xid < firstNormalXID {
		return nil
	}
	next := in.state.storedXID
	ahead := int32(xid - uint32(next)) // Modulo 2^32, as xids are compared.
	if ahead < 0 {
		return nil
	}
	in.state.storedXID = roundXID(next + uint64(ahead) + 1)
	in.putCheckpoint(lsn)
	return nil
}

// advanceXIDs does so for a list of xids.
func (in *Ingester) advanceXIDs(xids []byte, lsn wal.LSN) error {
	for ; len(xids) >= 4; xids = xids[4:] {
		if err := in.advanceXID(binary.LittleEndian.Uint32(xids), lsn); err != nil {
			return err
		}
	}
	return nil
}
