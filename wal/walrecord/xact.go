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
	XactCommit         = 0x00
	XactPrepare        = 0x10
	XactAbort          = 0x20
	XactCommitPrepared = 0x30
	XactAbortPrepared  = 0x40
	xactMask           = 0x70 // of the info byte: the operation
	XactHasInfo        = 0x80

	XinfoDBInfo       = 1 << 0
	XinfoSubxacts     = 1 << 1
	XinfoRelations    = 1 << 2
	XinfoInvals       = 1 << 3
	XinfoTwoPhase     = 1 << 4
	XinfoOrigin       = 1 << 5
	XinfoGID          = 1 << 7
	XinfoDroppedStats = 1 << 8
)

// InvalSize is the size of an invalidation message in a record, in bytes
// (SharedInvalidationMessage).
const InvalSize = 16

// ChangedRelation reads an invalidation message. ok says that it is about one
// relation, of which anything in the catalogs may have changed, its existence
// too; db is 0 for a relation that all databases share.
func ChangedRelation(message []byte) (db, oid uint32, ok bool) {
	const relcache = -2 // SHAREDINVALRELCACHE_ID
	if len(message) < InvalSize || int8(message[0]) != relcache {
		return 0, 0, false
	}
	db, oid = binary.LittleEndian.Uint32(message[4:]), binary.LittleEndian.Uint32(message[8:])
	return db, oid, oid != 0 // 0 is every relation.
}

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
	// Invalidations are what other sessions must forget of the catalogs: InvalSize
	// each; see [ChangedRelation].
	Invalidations []byte

	HasOrigin  bool
	OriginLSN  wal.LSN
	OriginTime wal.Timestamp
}

// ParseTransactionEnd reads the record of a commit or abort, also of a prepared
// transaction (ParseCommitRecord, ParseAbortRecord). ok is false for any other
// record.
func ParseTransactionEnd(r *Record) (x TransactionEnd, ok bool, err error) {
	op := r.Info & xactMask
	if r.RMID != RmgrTransaction || (op != XactCommit && op != XactCommitPrepared && op != XactAbort && op != XactAbortPrepared) {
		return x, false, nil
	}
	b := NewCursor(r.MainData)
	x.XID, x.Committed = r.XID, op == XactCommit || op == XactCommitPrepared
	x.Time = b.Time()
	var info uint32
	if r.Info&XactHasInfo != 0 {
		info = b.U32()
	}
	if info&XinfoDBInfo != 0 {
		b.Bytes(8)
	}
	if info&XinfoSubxacts != 0 {
		x.Subxids = b.Counted(4)
	}
	if info&XinfoRelations != 0 {
		x.Relations = b.Counted(RelFileSize)
	}
	if info&XinfoDroppedStats != 0 {
		b.Counted(droppedStatsSize(r.Major))
	}
	if info&XinfoInvals != 0 {
		x.Invalidations = b.Counted(InvalSize)
	}
	if info&XinfoTwoPhase != 0 {
		x.Prepared, x.XID = true, b.U32()
		if info&XinfoGID != 0 {
			b.Bytes(bytes.IndexByte(b.Rest, 0) + 1)
		}
	}
	if info&XinfoOrigin != 0 {
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
	if r.RMID != RmgrTransaction || r.Info&xactMask != XactPrepare {
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
