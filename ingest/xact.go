package ingest

import (
	"bytes"
	"encoding/binary"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of resource manager Transaction, and the bits of xinfo
// (src/include/access/xact.h).
const (
	xactCommit         = 0x00
	xactPrepare        = 0x10
	xactAbort          = 0x20
	xactCommitPrepared = 0x30
	xactAbortPrepared  = 0x40
	xactMask           = 0x70
	xactHasInfo        = 0x80

	xinfoDBInfo       = 1 << 0
	xinfoSubxacts     = 1 << 1
	xinfoRelations    = 1 << 2
	xinfoInvals       = 1 << 3
	xinfoTwoPhase     = 1 << 4
	xinfoOrigin       = 1 << 5
	xinfoGID          = 1 << 7
	xinfoDroppedStats = 1 << 8

	relFileSize = 12
	invalSize   = 16
)

// xact is the end of a transaction. Its slices alias the record.
type xact struct {
	xid        uint32
	time       wal.Timestamp
	subxids    []byte // u32 each
	relations  []byte // relFileSize each
	prepared   bool
	hasOrigin  bool
	originLSN  wal.LSN
	originTime wal.Timestamp
}

// parseXact reads the record of a commit or abort (ParseCommitRecord,
// ParseAbortRecord).
func parseXact(r *walrecord.Record) (x xact, err error) {
	b := read(r.MainData)
	x.xid = r.XID
	x.time = b.time()
	var info uint32
	if r.Info&xactHasInfo != 0 {
		info = b.u32()
	}
	if info&xinfoDBInfo != 0 {
		b.bytes(8)
	}
	if info&xinfoSubxacts != 0 {
		x.subxids = b.counted(4)
	}
	if info&xinfoRelations != 0 {
		x.relations = b.counted(relFileSize)
	}
	if info&xinfoDroppedStats != 0 {
		b.counted(droppedStatsSize(r.Major))
	}
	if info&xinfoInvals != 0 {
		b.counted(invalSize)
	}
	if info&xinfoTwoPhase != 0 {
		x.prepared, x.xid = true, b.u32()
		if info&xinfoGID != 0 {
			b.bytes(bytes.IndexByte(b.rest, 0) + 1)
		}
	}
	if info&xinfoOrigin != 0 {
		x.hasOrigin, x.originLSN, x.originTime = true, b.lsn(), b.time()
	}
	if b.bad {
		return x, errTruncated
	}
	return x, nil
}

// droppedStatsSize is the size of an entry for dropped statistics: with a 64-bit
// object number from 18 on.
func droppedStatsSize(major int) int {
	if major == 0 || major >= 18 {
		return 16
	}
	return 12
}

func (in *Ingester) transaction(r *walrecord.Record) error {
	switch op := r.Info & xactMask; op {
	case xactCommit, xactCommitPrepared, xactAbort, xactAbortPrepared:
		x, err := parseXact(r)
		if err != nil {
			return err
		}
		return in.endTransaction(r, &x, op == xactCommit || op == xactCommitPrepared)
	case xactPrepare:
		return in.prepare(r)
	}
	return nil // Assignments and invalidations concern who reads during recovery.
}

// endTransaction is xact_redo_commit and xact_redo_abort.
func (in *Ingester) endTransaction(r *walrecord.Record, x *xact, committed bool) error {
	if err := in.advanceXID(x.xid, r.End); err != nil {
		return err
	}
	if err := in.advanceXIDs(x.subxids, r.End); err != nil {
		return err
	}
	status := pagekey.StatusAborted
	if committed {
		status = pagekey.StatusCommitted
	}
	if err := in.setStatus(x, status, r.End); err != nil {
		return err
	}
	if committed && in.state.control.trackCommitTS() {
		if err := in.setCommitTime(r, x); err != nil {
			return err
		}
	}
	if x.hasOrigin && r.Origin != 0 {
		if err := in.advanceOrigin(r.Origin, x.originLSN, r.End); err != nil {
			return err
		}
	}
	if x.prepared {
		in.add(pagekey.TwoPhase(x.xid), r.End, pagestore.Tombstone, nil)
	}
	if committed {
		in.eventCommit(r, x)
	}
	for b := read(x.relations); len(b.rest) > 0; {
		if err := in.dropRelation(b.relFile(), r.End); err != nil {
			return err
		}
	}
	return nil
}

// prepare keeps the state of a prepared transaction: the record's main data is
// the state file but for its CRC (xl_xact_prepare; the xid is at 8).
func (in *Ingester) prepare(r *walrecord.Record) error {
	b := read(r.MainData)
	b.bytes(8)
	xid := b.u32()
	if b.bad {
		return errTruncated
	}
	if err := in.advanceXID(xid, r.End); err != nil {
		return err
	}
	in.addCopy(pagekey.TwoPhase(xid), r.End, r.MainData)
	return nil
}

// xidRun is a run of xids that lie on one page.
type xidRun struct {
	page uint64
	open bool
	at   int // where its change begins in the arena
}

// setStatus enters a transaction and its subtransactions into the commit log.
func (in *Ingester) setStatus(x *xact, s pagekey.Status, lsn wal.LSN) error {
	begin := func() { in.out.arena = pagekey.BeginCLOG(in.out.arena, s) }
	return in.perPage(pagekey.CLOG, pagekey.CLOGPerPage, x, lsn, begin)
}

// setCommitTime enters when they committed. A commit that was replicated from
// elsewhere has the time of the other side.
func (in *Ingester) setCommitTime(r *walrecord.Record, x *xact) error {
	at := x.time
	if x.hasOrigin {
		at = x.originTime
	}
	begin := func() { in.out.arena = pagekey.BeginCommitTS(in.out.arena, at, r.Origin) }
	return in.perPage(pagekey.CommitTS, pagekey.CommitTSPerPage, x, r.End, begin)
}

// perPage adds one change for each run of the transaction's xids that lie on a
// page.
func (in *Ingester) perPage(s pagekey.SLRU, perPage uint32, x *xact, lsn wal.LSN, begin func()) error {
	var run xidRun
	end := func() error {
		in.addFrom(run.at, pagekey.SLRUPage(s, run.page), lsn, pagestore.Delta)
		return in.touchPage(s, run.page, lsn)
	}
	each := func(xid uint32) error {
		if page := uint64(xid / perPage); !run.open || page != run.page {
			if run.open {
				if err := end(); err != nil {
					return err
				}
			}
			run = xidRun{page: page, open: true, at: len(in.out.arena)}
			begin()
		}
		in.out.arena = pagekey.AppendNumber(in.out.arena, uint16(xid%perPage))
		return nil
	}
	if err := each(x.xid); err != nil {
		return err
	}
	for sub := x.subxids; len(sub) >= 4; sub = sub[4:] {
		if err := each(binary.LittleEndian.Uint32(sub)); err != nil {
			return err
		}
	}
	return end()
}
