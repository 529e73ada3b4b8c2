package ingest

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/wal/walrecord"
)

func (in *Ingester) xlog(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	switch r.Op() {
	case xlogCheckpointShutdown, xlogCheckpointOnline:
		return in.checkpoint(r)
	case xlogNextOID:
		in.state.put32(pgdata.CheckPointNextOID, b.U32())
		in.putCheckpoint(r.End)
	case xlogParameterChange:
		return in.parameters(r)
	case xlogFPWChange:
		in.state.checkpoint[pgdata.CheckPointFullPageWrites] = b.U8() & 1
		in.putCheckpoint(r.End)
	case xlogEndOfRecovery:
		return in.endOfRecovery(r)
	case xlogRestorePoint:
		return in.eventRestorePoint(r)
	case xlogOverwriteContrecord:
		return in.eventTorn(r)
	}
	if b.Bad {
		return errTruncated
	}
	return nil
}

// checkpoint takes a checkpoint's counters over: as they are from one at
// shutdown, those that are ahead from one online, which was begun before.
func (in *Ingester) checkpoint(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	c := b.Bytes(pgdata.CheckPointSize)
	if b.Bad {
		return errTruncated
	}
	s := &in.state
	nextXID := binary.LittleEndian.Uint64(c[pgdata.CheckPointNextXID:])
	if r.Op() == xlogCheckpointShutdown {
		copy(s.checkpoint[:], c)
		s.storedXID = roundXID(nextXID)
	} else {
		s.storedXID = max(s.storedXID, roundXID(nextXID))
		in.onlineCheckpoint(c)
	}
	in.eventCheckpoint(r, c)
	s.control.setCheckpoint(r.Start, c)
	in.putCheckpoint(r.End)
	in.putControl(r.End)
	return in.forgetEvents(r.End)
}

func (in *Ingester) onlineCheckpoint(c []byte) {
	s := &in.state
	s.copyFrom(c, pgdata.CheckPointRedo, pgdata.CheckPointNextXID) // Up to and with wal_level.
	s.copyFrom(c, pgdata.CheckPointTime, 8)
	s.copyFrom(c, pgdata.CheckPointOldestActiveXID, 4)
	ahead := func(at, with int) {
		if int32(binary.LittleEndian.Uint32(c[at:])-s.u32(at)) > 0 {
			s.copyFrom(c, at, with)
		}
	}
	ahead(pgdata.CheckPointNextMulti, 4)
	ahead(pgdata.CheckPointNextMultiOffset, 4)
	ahead(pgdata.CheckPointOldestXID, 8) // With its database.
	ahead(pgdata.CheckPointOldestMulti, 8)
	ahead(pgdata.CheckPointOldestCommitTS, 4)
	ahead(pgdata.CheckPointNewestCommitTS, 4)
}

// parameters takes changed settings over. Commit timestamps begin, or go, with
// track_commit_timestamp (CommitTsParameterChange).
func (in *Ingester) parameters(r *walrecord.Record) error {
	s := &in.state
	before := s.control.trackCommitTS()
	if err := s.control.setParameters(r.MainData); err != nil {
		return err
	}
	s.settings = s.control.settings()
	if r.Major == 0 || r.Major >= 17 {
		copy(s.checkpoint[pgdata.CheckPointWALLevel:pgdata.CheckPointWALLevel+4], s.control[pgdata.ControlWALLevel:])
		in.putCheckpoint(r.End)
	}
	in.putControl(r.End)
	if before == s.control.trackCommitTS() {
		return nil
	}
	if before {
		return in.dropSLRU(pagekey.CommitTS, r.End)
	}
	// A server changes parameters as it starts, behind the checkpoint of when it
	// stopped: that one's next xid is exact.
	next := binary.LittleEndian.Uint32(s.control.checkpoint()[pgdata.CheckPointNextXID:])
	return in.zeroPage(pagekey.CommitTS, uint64(next)/pagekey.CommitTSPerPage, r.End, true)
}

// endOfRecovery begins a timeline: time, the new TLI, the one before, and from
// 17 on wal_level.
func (in *Ingester) endOfRecovery(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	at, tli, before := b.Time(), b.U32(), b.U32()
	if b.Bad {
		return errTruncated
	}
	in.state.put32(pgdata.CheckPointTLI, tli)
	in.state.put32(pgdata.CheckPointPrevTLI, before)
	in.putCheckpoint(r.End)
	in.eventTimeline(r, at, tli, before)
	return nil
}

// runningXacts is the answer to "which transactions run": the next xid is in it.
func (in *Ingester) runningXacts(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	b.Bytes(12)
	next, oldest := b.U32(), b.U32()
	if b.Bad {
		return errTruncated
	}
	in.state.put32(pgdata.CheckPointOldestActiveXID, oldest)
	return in.advanceXID(next-1, r.End)
}
