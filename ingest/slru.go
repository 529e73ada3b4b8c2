package ingest

import (
	"cmp"
	"math"
	"slices"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of resource managers CLOG and CommitTs.
const (
	slruZeroPage = 0x00
	slruTruncate = 0x10
)

// pageNumber takes the number of an SLRU's page: 8 bytes from version 17 on.
func pageNumber(c *walrecord.Cursor, major int) uint64 {
	if major == 0 || major >= 17 {
		return c.U64()
	}
	return uint64(c.U32())
}

// segment names a segment file of an SLRU.
type segment struct {
	slru   pagekey.SLRU
	number uint32
}

// slrus are the sizes in pages of segments that were looked up or changed; 0 is
// one that does not exist.
type slrus struct {
	known map[segment]uint32
}

// limit forgets sizes when they are too many. The batch is empty then.
func (s *slrus) limit() {
	if len(s.known) > maxKnownSizes {
		clear(s.known)
	}
}

// emptyPage is the image of a page of zeroes.
var emptyPage = pagekey.AppendPage(nil, &page.Page{})

// touchPage makes the page's segment at least so long that it has the page.
func (in *Ingester) touchPage(s pagekey.SLRU, number uint64, lsn wal.LSN) error {
	if number/pagekey.SLRUSegmentPages > math.MaxUint32 {
		return errBlock
	}
	seg := segment{s, uint32(number / pagekey.SLRUSegmentPages)}
	pages := uint32(number%pagekey.SLRUSegmentPages) + 1
	size, err := in.segmentSize(seg)
	if err != nil || size >= pages {
		return err
	}
	in.slrus.known[seg] = pages
	in.addSize(pagekey.SLRUSegment(s, seg.number), lsn, pages)
	return nil
}

func (in *Ingester) segmentSize(seg segment) (uint32, error) {
	size, ok := in.slrus.known[seg]
	if ok {
		return size, nil
	}
	size, _, err := in.lookUpSize(pagekey.SLRUSegment(seg.slru, seg.number))
	if err == nil {
		in.slrus.known[seg] = size
	}
	return size, err
}

// zeroPage makes a page of zeroes; keep leaves one that exists as it is.
func (in *Ingester) zeroPage(s pagekey.SLRU, number uint64, lsn wal.LSN, keep bool) error {
	if keep {
		size, err := in.segmentSize(segment{s, uint32(number / pagekey.SLRUSegmentPages)})
		if err != nil || uint64(size) > number%pagekey.SLRUSegmentPages {
			return err
		}
	}
	if err := in.touchPage(s, number, lsn); err != nil {
		return err
	}
	in.add(pagekey.SLRUPage(s, number), lsn, pagestore.Image, emptyPage)
	return nil
}

// dropSegment removes a segment file.
func (in *Ingester) dropSegment(seg segment, lsn wal.LSN) {
	in.slrus.known[seg] = 0
	in.add(pagekey.SLRUSegment(seg.slru, seg.number), lsn, pagestore.Tombstone, nil)
	in.drop(pagekey.SegmentPages(seg.slru, seg.number), lsn)
}

// dropSegments removes the segment files that gone says.
func (in *Ingester) dropSegments(s pagekey.SLRU, lsn wal.LSN, gone func(first uint64) bool) error {
	// The scan sees what has been put, known what is about to be.
	err := in.tl.Scan(in.ctx, pagekey.SLRUSegments(s), in.tl.LastLSN(), pagestore.ScanOptions{KeysOnly: true},
		func(key pagestore.Key, _ *pagestore.Value) (bool, error) {
			ref, err := pagekey.Parse(key)
			if err == nil {
				_, err = in.segmentSize(segment{s, ref.Segment})
			}
			return err == nil, err
		})
	if err != nil {
		return err
	}
	var old []segment
	for seg, size := range in.slrus.known {
		if seg.slru == s && size > 0 && gone(uint64(seg.number)*pagekey.SLRUSegmentPages) {
			old = append(old, seg)
		}
	}
	slices.SortFunc(old, func(a, b segment) int { return cmp.Compare(a.number, b.number) })
	for _, seg := range old {
		in.dropSegment(seg, lsn)
	}
	return nil
}

func (in *Ingester) dropSLRU(s pagekey.SLRU, lsn wal.LSN) error {
	return in.dropSegments(s, lsn, func(uint64) bool { return true })
}

// truncateSLRU removes the segments all of whose pages precede a page
// (SimpleLruTruncate). Numbers of entries are compared modulo 2^32.
func (in *Ingester) truncateSLRU(s pagekey.SLRU, cutoff uint64, perPage, firstEntry uint32, lsn wal.LSN) error {
	precedes := func(a, b uint64) bool {
		x, y := uint32(a)*perPage+firstEntry, uint32(b)*perPage+firstEntry
		return int32(x-y) < 0 && int32(x-(y+perPage-1)) < 0
	}
	return in.dropSegments(s, lsn, func(first uint64) bool {
		return precedes(first, cutoff) && precedes(first+pagekey.SLRUSegmentPages-1, cutoff)
	})
}

func (in *Ingester) clog(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	number := pageNumber(&b, r.Major)
	switch r.Op() {
	case slruZeroPage:
		if b.Bad {
			return errTruncated
		}
		return in.zeroPage(pagekey.CLOG, number, r.End, false)
	case slruTruncate:
		oldest, db := b.U32(), b.U32()
		if b.Bad {
			return errTruncated
		}
		if int32(oldest-in.state.u32(pgdata.CheckPointOldestXID)) > 0 {
			in.state.put32(pgdata.CheckPointOldestXID, oldest)
			in.state.put32(pgdata.CheckPointOldestXIDDB, db)
			in.putCheckpoint(r.End)
		}
		return in.truncateSLRU(pagekey.CLOG, number, pagekey.CLOGPerPage, firstNormalXID+1, r.End)
	}
	return errUnknown
}

func (in *Ingester) commitTS(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	number := pageNumber(&b, r.Major)
	switch r.Op() {
	case slruZeroPage:
		if b.Bad {
			return errTruncated
		}
		return in.zeroPage(pagekey.CommitTS, number, r.End, false)
	case slruTruncate:
		oldest := b.U32()
		if b.Bad {
			return errTruncated
		}
		in.state.put32(pgdata.CheckPointOldestCommitTS, oldest)
		in.putCheckpoint(r.End)
		return in.truncateSLRU(pagekey.CommitTS, number, pagekey.CommitTSPerPage, firstNormalXID+1, r.End)
	}
	return errUnknown
}
