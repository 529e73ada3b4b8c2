package ingest

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of resource manager MultiXact (src/include/access/multixact.h).
const (
	multiZeroOffsets = 0x00
	multiZeroMembers = 0x10
	multiCreate      = 0x20
	multiTruncate    = 0x30

	memberSize       = 8
	firstMulti       = 1
	lastMemberOffset = 0xFFFFFFFF
	membersPerFile   = pagekey.MembersPerPage * pagekey.SLRUSegmentPages
)

func (in *Ingester) multiXact(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	switch r.Op() {
	case multiZeroOffsets:
		number := pageNumber(&b, r.Major)
		if b.Bad {
			return errTruncated
		}
		return in.zeroOffsets(number, r.End)
	case multiZeroMembers:
		number := pageNumber(&b, r.Major)
		if b.Bad {
			return errTruncated
		}
		return in.zeroPage(pagekey.MultiXactMembers, number, r.End, false)
	case multiCreate:
		return in.createMulti(r)
	case multiTruncate:
		return in.truncateMulti(r)
	}
	return errUnknown
}

// zeroOffsets makes a page of offsets, unless the record before, which needed
// its first entry, has made it.
func (in *Ingester) zeroOffsets(number uint64, lsn wal.LSN) error {
	if in.state.offsetsPage == number {
		in.setOffsetsPage(noPage, lsn)
		return nil
	}
	return in.zeroPage(pagekey.MultiXactOffsets, number, lsn, false)
}

func (in *Ingester) setOffsetsPage(number uint64, lsn wal.LSN) {
	in.state.offsetsPage = number
	in.putState(stateOffsetsPage, lsn, number)
}

// createMulti enters a multixact: where its members begin, where the next one's
// will, and the members (RecordNewMultiXact). Servers before 15.16, 17.8 and
// their siblings leave the next one's to the next record; a reader takes no
// notice of it there, so that it is always entered.
func (in *Ingester) createMulti(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	multi, offset := b.U32(), b.U32()
	members := b.Counted(memberSize)
	if b.Bad {
		return errTruncated
	}
	count := uint32(len(members) / memberSize)
	next, nextOffset := max(multi+1, firstMulti), max(offset+count, 1)
	if err := in.enterOffset(multi, offset, r.End); err != nil {
		return err
	}
	if err := in.enterNextOffset(multi, next, nextOffset, r.End); err != nil {
		return err
	}
	if err := in.enterMembers(offset, members, r.End); err != nil {
		return err
	}
	for m := members; len(m) > 0; m = m[memberSize:] {
		if err := in.advanceXID(binary.LittleEndian.Uint32(m), r.End); err != nil {
			return err
		}
	}
	s := &in.state
	if int32(next-s.u32(pgdata.CheckPointNextMulti)) > 0 {
		s.put32(pgdata.CheckPointNextMulti, next)
	}
	if int32(nextOffset-s.u32(pgdata.CheckPointNextMultiOffset)) > 0 {
		s.put32(pgdata.CheckPointNextMultiOffset, nextOffset)
	}
	in.putCheckpoint(r.End)
	return nil
}

func (in *Ingester) enterOffset(multi, offset uint32, lsn wal.LSN) error {
	at := len(in.out.arena)
	in.out.arena = pagekey.AppendOffset(in.out.arena, uint16(multi%pagekey.OffsetsPerPage), offset)
	number := uint64(multi / pagekey.OffsetsPerPage)
	in.addFrom(at, pagekey.SLRUPage(pagekey.MultiXactOffsets, number), lsn, pagestore.Delta)
	return in.touchPage(pagekey.MultiXactOffsets, number, lsn)
}

func (in *Ingester) enterNextOffset(multi, next, offset uint32, lsn wal.LSN) error {
	number := uint64(next / pagekey.OffsetsPerPage)
	if number != uint64(multi/pagekey.OffsetsPerPage) {
		size, err := in.segmentSize(segment{pagekey.MultiXactOffsets, uint32(number / pagekey.SLRUSegmentPages)})
		if err != nil {
			return err
		}
		if uint64(size) <= number%pagekey.SLRUSegmentPages {
			if err := in.zeroPage(pagekey.MultiXactOffsets, number, lsn, false); err != nil {
				return err
			}
			in.setOffsetsPage(number, lsn)
		}
	}
	return in.enterOffset(next, offset, lsn)
}

// enterMembers adds a change for each page that members lie on.
func (in *Ingester) enterMembers(offset uint32, members []byte, lsn wal.LSN) error {
	for len(members) > 0 {
		number := offset % pagekey.MembersPerPage
		at := len(in.out.arena)
		in.out.arena = pagekey.BeginMembers(in.out.arena, uint16(number))
		page := uint64(offset / pagekey.MembersPerPage)
		for ; number < pagekey.MembersPerPage && len(members) > 0; number++ {
			xid, status := binary.LittleEndian.Uint32(members), members[4]
			in.out.arena = pagekey.AppendMember(in.out.arena, xid, status)
			members = members[memberSize:]
			if offset++; offset == 0 {
				break // Offsets begin again, on the first page.
			}
		}
		in.addFrom(at, pagekey.SLRUPage(pagekey.MultiXactMembers, page), lsn, pagestore.Delta)
		if err := in.touchPage(pagekey.MultiXactMembers, page, lsn); err != nil {
			return err
		}
	}
	return nil
}

// truncateMulti removes segments of members between two offsets, and segments of
// offsets before the new oldest multixact (PerformMembersTruncation,
// PerformOffsetsTruncation).
func (in *Ingester) truncateMulti(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	db, _, end, startMember, endMember := b.U32(), b.U32(), b.U32(), b.U32(), b.U32()
	if b.Bad {
		return errTruncated
	}
	const lastFile = lastMemberOffset / membersPerFile
	inRange := func(file uint32) bool {
		from, to := startMember/membersPerFile, endMember/membersPerFile
		if from <= to {
			return from <= file && file < to
		}
		return from <= file && file <= lastFile || file < to
	}
	err := in.dropSegments(pagekey.MultiXactMembers, r.End, func(first uint64) bool {
		return inRange(uint32(first / pagekey.SLRUSegmentPages))
	})
	if err != nil {
		return err
	}
	before := end - 1 // PreviousMultiXactId.
	if before < firstMulti {
		before = lastMemberOffset
	}
	if int32(end-in.state.u32(pgdata.CheckPointOldestMulti)) > 0 {
		in.state.put32(pgdata.CheckPointOldestMulti, end)
		in.state.put32(pgdata.CheckPointOldestMultiDB, db)
		in.putCheckpoint(r.End)
	}
	return in.truncateSLRU(pagekey.MultiXactOffsets, uint64(before/pagekey.OffsetsPerPage), pagekey.OffsetsPerPage, firstMulti+1, r.End)
}
