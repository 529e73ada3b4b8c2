package pagekey

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/walhaven/walhaven/redo"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// The first byte of a change. The numbers are part of the stored format.
const (
	deltaRecord       = 1 // a WAL record that references the page
	deltaMapClear     = 2 // heap block u32, bits u8
	deltaMapTruncate  = 3 // first heap block that is gone u32
	deltaFSMTruncate  = 4 // first leaf slot of the page that is gone u16
	deltaCLOG         = 5 // status u8, then u16 numbers of xids within the page
	deltaCommitTS     = 6 // time i64, origin u16, then u16 numbers of xids within the page
	deltaOffset       = 7 // number within the page u16, offset u32
	deltaMembers      = 8 // number of the first within the page u16, then xid u32 and status u8 of each
	recordPrefix      = 4 // deltaRecord, index of the block, major, settings
	optionWALLogHints = 1
	optionChecksums   = 2
)

// Bits of a block reference's fork_flags and numbers of sub-headers.
const (
	refData         = 0x20
	refInit         = 0x40
	refSameRel      = 0x80
	headerMainShort = 255
	headerMainLong  = 254
)

// AppendRecord adds the change that r makes to the page of r.Blocks[index]: the
// record as [walrecord.Decode] takes it, without images and without the data of
// other blocks, which redo of this one does not look at. In place of the back
// link it has the record's own start.
//
// The block's own image must have been stored as one, or be there only to check.
func AppendRecord(dst []byte, r *walrecord.Record, index int, o redo.Options) []byte {
	var options byte
	if o.WALLogHints {
		options |= optionWALLogHints
	}
	if o.DataChecksums {
		options |= optionChecksums
	}
	data := r.Blocks[index].Data
	most := recordPrefix + walrecord.RecordHeaderSize + len(r.Blocks)*maxReference + maxMainHeader + len(data) + len(r.MainData)
	at := len(dst)
	dst = slices.Grow(dst, most)
	b := dst[at : at+most]
	b[0], b[1], b[2], b[3] = deltaRecord, byte(index), byte(r.Major), options
	h := b[recordPrefix : recordPrefix+walrecord.RecordHeaderSize]
	binary.LittleEndian.PutUint32(h[4:], r.XID)
	binary.LittleEndian.PutUint64(h[8:], uint64(r.Start))
	binary.LittleEndian.PutUint64(h[16:], uint64(r.Info)|uint64(r.RMID)<<8) // Without a checksum.
	n := recordPrefix + walrecord.RecordHeaderSize
	for i := range r.Blocks {
		n += putReference(b[n:], &r.Blocks[i], i == index)
	}
	if length := len(r.MainData); length > math.MaxUint8 {
		b[n] = headerMainLong
		binary.LittleEndian.PutUint32(b[n+1:], uint32(length))
		n += 5
	} else if length > 0 {
		b[n], b[n+1] = headerMainShort, byte(length)
		n += 2
	}
	n += copy(b[n:], data)
	n += copy(b[n:], r.MainData)
	binary.LittleEndian.PutUint32(h, uint32(n-recordPrefix))
	return dst[:at+n]
}

// Sizes in bytes that sub-headers have at most.
const (
	maxReference  = 20
	maxMainHeader = 5
)

// putReference writes a block's reference, for which there is room, and returns how
// many bytes it has.
func putReference(dst []byte, b *walrecord.Block, own bool) int {
	flags, length := byte(b.Fork), 0
	if b.WillInit {
		flags |= refInit
	}
	if b.SameRel {
		flags |= refSameRel
	}
	if own && len(b.Data) > 0 {
		flags |= refData
		length = len(b.Data)
	}
	dst = dst[:maxReference]
	dst[0], dst[1] = b.ID, flags
	binary.LittleEndian.PutUint16(dst[2:], uint16(length))
	if b.SameRel {
		binary.LittleEndian.PutUint32(dst[4:], b.Block)
		return 8
	}
	binary.LittleEndian.PutUint32(dst[4:], b.Rel.Tablespace)
	binary.LittleEndian.PutUint32(dst[8:], b.Rel.Database)
	binary.LittleEndian.PutUint32(dst[12:], b.Rel.Relation)
	binary.LittleEndian.PutUint32(dst[16:], b.Block)
	return maxReference
}

// DecodeRecord takes a change that AppendRecord wrote apart, for a page whose
// entry has the LSN end. ok is false for the other changes: those that no record
// describes by referencing the page. r aliases delta.
func DecodeRecord(delta []byte, end wal.LSN, r *walrecord.Record) (index int, o redo.Options, ok bool, err error) {
	if len(delta) == 0 || delta[0] != deltaRecord {
		return 0, o, false, nil
	}
	if len(delta) < recordPrefix+walrecord.RecordHeaderSize {
		return 0, o, true, errValue
	}
	index = int(delta[1])
	o = redo.Options{WALLogHints: delta[3]&optionWALLogHints != 0, DataChecksums: delta[3]&optionChecksums != 0}
	rec := delta[recordPrefix:]
	r.Major = int(delta[2])
	start := wal.LSN(binary.LittleEndian.Uint64(rec[8:]))
	return index, o, true, walrecord.Decode(rec, start, end, r)
}

// AppendMapClear adds the change that takes a heap block's bits off its page of
// the visibility map.
func AppendMapClear(dst []byte, v *redo.VisibilityClear) []byte {
	dst = append(dst, deltaMapClear)
	dst = binary.LittleEndian.AppendUint32(dst, v.HeapBlock)
	return append(dst, v.Bits)
}

// AppendMapTruncate adds the change of the last kept page of a visibility map
// whose heap has been cut to heapBlocks blocks.
func AppendMapTruncate(dst []byte, heapBlocks uint32) []byte {
	return binary.LittleEndian.AppendUint32(append(dst, deltaMapTruncate), heapBlocks)
}

// AppendFSMTruncate adds the change of the last kept page of a free space map:
// its leaf slots from slot on are gone.
func AppendFSMTruncate(dst []byte, slot uint16) []byte {
	return binary.LittleEndian.AppendUint16(append(dst, deltaFSMTruncate), slot)
}

// Status of a transaction in the commit log (src/include/access/clog.h).
type Status uint8

// The statuses that records give.
const (
	StatusCommitted Status = 1
	StatusAborted   Status = 2
)

// Entries on a page of each SLRU.
const (
	CLOGPerPage     = wal.BlockSize * 4
	CommitTSPerPage = wal.BlockSize / commitTSSize
	OffsetsPerPage  = wal.BlockSize / 4
	MembersPerPage  = wal.BlockSize / memberGroupSize * membersPerGroup

	commitTSSize    = 10
	membersPerGroup = 4
	memberGroupSize = membersPerGroup + membersPerGroup*4
)

// BeginCLOG starts the change that gives transactions of one page of the commit
// log a status; AppendNumber adds each.
func BeginCLOG(dst []byte, s Status) []byte { return append(dst, deltaCLOG, byte(s)) }

// BeginCommitTS starts the change that notes when transactions of one page
// committed, and from which origin; AppendNumber adds each.
func BeginCommitTS(dst []byte, at wal.Timestamp, origin uint16) []byte {
	dst = binary.LittleEndian.AppendUint64(append(dst, deltaCommitTS), uint64(at))
	return binary.LittleEndian.AppendUint16(dst, origin)
}

// AppendNumber adds a transaction: its number within the page.
func AppendNumber(dst []byte, n uint16) []byte { return binary.LittleEndian.AppendUint16(dst, n) }

// AppendOffset adds the change that says where a multixact's members begin.
func AppendOffset(dst []byte, number uint16, offset uint32) []byte {
	dst = binary.LittleEndian.AppendUint16(append(dst, deltaOffset), number)
	return binary.LittleEndian.AppendUint32(dst, offset)
}

// BeginMembers starts the change that enters members from a number within their
// page on; AppendMember adds each.
func BeginMembers(dst []byte, number uint16) []byte {
	return binary.LittleEndian.AppendUint16(append(dst, deltaMembers), number)
}

// AppendMember adds a member of a multixact.
func AppendMember(dst []byte, xid uint32, status uint8) []byte {
	return append(binary.LittleEndian.AppendUint32(dst, xid), status)
}
