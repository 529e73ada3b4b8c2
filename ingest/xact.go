package ingest

import (
	"encoding/binary"
	"fmt"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

func (in *Ingester) transaction(r *walrecord.Record) error {
	x, end, err := walrecord.ParseTransactionEnd(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errTruncated, err)
	}
	if end {
		return in.endTransaction(r, &x, x.Committed)
	}
	xid, prepares, err := walrecord.ParsePrepare(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errTruncated, err)
	}
	if prepares {
		return in.prepare(r, xid)
	}
	return nil // Assignments and invalidations concern who reads during recovery.
}

// endTransaction is xact_redo_commit and xact_redo_abort.
func (in *Ingester) endTransaction(r *walrecord.Record, x *walrecord.TransactionEnd, committed bool) error {
	inParts := len(r.MainData) >= largeEnd
	if inParts {
		if err := in.beginParts(r.End); err != nil {
			return err
		}
	}
	if err := in.advanceXID(x.XID, r.End); err != nil {
		return err
	}
	if err := in.advanceXIDs(x.Subxids, r.End); err != nil {
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
	if x.HasOrigin && r.Origin != 0 {
		if err := in.advanceOrigin(r.Origin, x.OriginLSN, r.End); err != nil {
			return err
		}
	}
	if x.Prepared {
		in.add(pagekey.TwoPhase(x.XID), r.End, pagestore.Tombstone, nil)
	}
	if committed {
		in.eventCommit(r, x)
	}
	for b := walrecord.NewCursor(x.Relations); len(b.Rest) > 0; {
		if err := in.dropRelation(b.RelFile(), r.End); err != nil {
			return err
		}
		if inParts {
			if err := in.part(r.End); err != nil {
				return err
			}
		}
	}
	if inParts {
		return in.put(r.End) // What the parts dropped is looked up there.
	}
	return nil
}

// largeEnd is the size in bytes from which on the record of a transaction's end is
// put in parts: it may drop more relations than a batch has room for.
const largeEnd = 64 << 10

// prepare keeps the state of a prepared transaction: the record's main data is
// the state file but for its CRC.
func (in *Ingester) prepare(r *walrecord.Record, xid uint32) error {
	if err := in.advanceXID(xid, r.End); err != nil {
		return err
	}
	in.addCopy(pagekey.TwoPhase(xid), r.End, r.MainData)
	if r.Origin == 0 || r.Origin == doNotReplicate {
		return nil
	}
	remote, err := preparedFrom(r)
	if err != nil {
		return err
	}
	return in.advanceOrigin(r.Origin, remote, r.End)
}

// preparedFrom is how far the other side was replayed with a transaction that was
// prepared there: origin_lsn of xl_xact_prepare, in front of which 15 put two
// counts of dropped statistics. PrepareRedoAdd advances the origin's progress to
// it, as the commit does later.
func preparedFrom(r *walrecord.Record) (wal.LSN, error) {
	at := 56
	if r.Major == 14 {
		at = 48
	}
	b := walrecord.NewCursor(r.MainData)
	b.Bytes(at)
	remote := b.LSN()
	if b.Bad {
		return 0, errTruncated
	}
	return remote, nil
}

// xidRun is a run of xids that lie on one page.
type xidRun struct {
	page uint64
	open bool
	at   int // where its change begins in the arena
}

// setStatus enters a transaction and its subtransactions into the commit log.
func (in *Ingester) setStatus(x *walrecord.TransactionEnd, s pagekey.Status, lsn wal.LSN) error {
	begin := func() { in.out.arena = pagekey.BeginCLOG(in.out.arena, s) }
	return in.perPage(pagekey.CLOG, pagekey.CLOGPerPage, x, lsn, begin)
}

// setCommitTime enters when they committed. A commit that was replicated from
// elsewhere has the time of the other side.
func (in *Ingester) setCommitTime(r *walrecord.Record, x *walrecord.TransactionEnd) error {
	at := x.Time
	if x.HasOrigin {
		at = x.OriginTime
	}
	begin := func() { in.out.arena = pagekey.BeginCommitTS(in.out.arena, at, r.Origin) }
	return in.perPage(pagekey.CommitTS, pagekey.CommitTSPerPage, x, r.End, begin)
}

// perPage adds one change for each run of the transaction's xids that lie on a
// page.
func (in *Ingester) perPage(s pagekey.SLRU, perPage uint32, x *walrecord.TransactionEnd, lsn wal.LSN, begin func()) error {
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
	if err := each(x.XID); err != nil {
		return err
	}
	for sub := x.Subxids; len(sub) >= 4; sub = sub[4:] {
		if err := each(binary.LittleEndian.Uint32(sub)); err != nil {
			return err
		}
	}
	return end()
}
