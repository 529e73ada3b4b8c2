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
	b := fields{rest: r.MainData}
	x.XID, x.Committed = r.XID, op == xactCommit || op == xactCommitPrepared
	x.Time = wal.Timestamp(b.u64())
	var info uint32
	if r.Info&xactHasInfo != 0 {
		info = b.u32()
	}
	if info&xinfoDBInfo != 0 {
		b.take(8)
	}
	if info&xinfoSubxacts != 0 {
		x.Subxids = b.counted(4)
	}
	if info&xinfoRelations != 0 {
		x.Relations = b.counted(RelFileSize)
	}
	if info&xinfoDroppedStats != 0 {
		b.counted(droppedStatsSize(r.Major))
	}
	if info&xinfoInvals != 0 {
		b.counted(invalSize)
	}
	if info&xinfoTwoPhase != 0 {
		x.Prepared, x.XID = true, b.u32()
		if info&xinfoGID != 0 {
			b.take(bytes.IndexByte(b.rest, 0) + 1)
		}
	}
	if info&xinfoOrigin != 0 {
		x.HasOrigin, x.OriginLSN, x.OriginTime = true, wal.LSN(b.u64()), wal.Timestamp(b.u64())
	}
	if b.bad {
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

// fields takes little-endian fields, not aligned. After it ran past the end every
// field is zero and bad is true.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) take(n int) []byte {
	if n < 0 || n > len(f.rest) {
		f.bad, f.rest = true, nil
		return nil
	}
	b := f.rest[:n:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) u32() uint32 {
	if b := f.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (f *fields) u64() uint64 {
	if b := f.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// counted takes a number n and then n items of size bytes.
func (f *fields) counted(size int) []byte {
	n := f.u32()
	if uint64(n)*uint64(size) > uint64(len(f.rest)) {
		f.bad = true
		return nil
	}
	return f.take(int(n) * size)
}
