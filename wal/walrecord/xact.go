package walrecord

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/walhaven/walhaven/wal"
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

	invalSize = 16
)

// RelFileSize is the size of a relation file locator in a record, in bytes.
const RelFileSize = 12

// errTransaction says that a record of a transaction's end is cut short.
var errTransaction = errors.New("record of a transaction is too short")

// TransactionEnd is what the record of a commit or abort says. Its slices alias
// the record.
type TransactionEnd struct {
	XID       uint32
	Committed bool
	Prepared  bool // it was a prepared transaction's
	Time      wal.Timestamp
	Subxids   []byte // u32 each, little-endian
	Relations []byte // RelFileSize each: files that go

	HasOrigin  bool
	OriginLSN  wal.LSN
	OriginTime wal.Timestamp
}

// ParseTransactionEnd reads the record of a commit or abort, also of a prepared
// transaction (ParseCommitRecord, ParseAbortRecord). ok is false for any other
// record.
func ParseTransactionEnd(r *Record) (x TransactionEnd, ok bool, err error) {
	op := r.Info & xactMask
	if r.RMID != RmgrTransaction || (op != xactCommit && op != xactCommitPrepared && op != xactAbort && op != xactAbortPrepared) {
		return x, false, nil
	}
	b := NewCursor(r.MainData)
	x.XID, x.Committed = r.XID, op == xactCommit || op == xactCommitPrepared
	x.Time = b.Time()
	var info uint32
	if r.Info&xactHasInfo != 0 {
		info = b.U32()
	}
	if info&xinfoDBInfo != 0 {
		b.Bytes(8)
	}
	if info&xinfoSubxacts != 0 {
		x.Subxids = b.Counted(4)
	}
	if info&xinfoRelations != 0 {
		x.Relations = b.Counted(RelFileSize)
	}
	if info&xinfoDroppedStats != 0 {
		b.Counted(droppedStatsSize(r.Major))
	}
	if info&xinfoInvals != 0 {
		b.Counted(invalSize)
	}
	if info&xinfoTwoPhase != 0 {
		x.Prepared, x.XID = true, b.U32()
		if info&xinfoGID != 0 {
			b.Bytes(bytes.IndexByte(b.Rest, 0) + 1)
		}
	}
	if info&xinfoOrigin != 0 {
		x.HasOrigin, x.OriginLSN, x.OriginTime = true, b.LSN(), b.Time()
	}
	if b.Bad {
		return TransactionEnd{}, true, errTransaction
	}
	return x, true, nil
}

// ParsePrepare reads the record that prepares a transaction. ok is false for any
// other record.
func ParsePrepare(r *Record) (xid uint32, ok bool, err error) {
	const xidAt = 8 // in xl_xact_prepare
	if r.RMID != RmgrTransaction || r.Info&xactMask != xactPrepare {
		return 0, false, nil
	}
	if len(r.MainData) < xidAt+4 {
		return 0, true, errTransaction
	}
	return binary.LittleEndian.Uint32(r.MainData[xidAt:]), true, nil
}

// droppedStatsSize is the size of an entry for dropped statistics: with a 64-bit
// object number from 18 on.
func droppedStatsSize(major int) int {
	if major == 0 || major >= 18 {
		return 16
	}
	return 12
}
