package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// tid is an ItemPointerData as it is stored.
type tid [lenTID]byte

// btreeInsertPosting inserts a tuple whose TID falls into the posting list of
// the item before it. data is the TID's place there, then the tuple.
func btreeInsertPosting(p *page.Page, offnum uint16, data []byte) error {
	r := walrecord.NewCursor(data)
	place := int(r.U16())
	item := takeIndexTuple(&r)
	if err := checkRead(&r); err != nil {
		return err
	}
	last, err := insertIntoPosting(p, int(offnum)-1, place, item)
	if err != nil {
		return err
	}
	if err := p.Insert(offnum, item); err != nil {
		return err
	}
	tuple, err := p.Item(offnum)
	if err != nil {
		return err
	}
	copy(tuple, last[:])
	return nil
}

// insertIntoPosting puts the TID of item into the posting list of line pointer
// offnum, which keeps its length, and returns the TID that it had last: that
// becomes the item's (_bt_swap_posting).
func insertIntoPosting(p *page.Page, offnum, place int, item []byte) (tid, error) {
	posting, err := indexItem(p, offnum)
	if err != nil {
		return tid{}, err
	}
	_, tids, err := btreePosting(posting)
	if err != nil {
		return tid{}, err
	}
	if place <= 0 || place*lenTID >= len(tids) || len(item) < lenIndexTuple {
		return tid{}, errBadRecord
	}
	last := tid(tids[len(tids)-lenTID:])
	copy(tids[(place+1)*lenTID:], tids[place*lenTID:])
	copy(tids[place*lenTID:], item[:lenTID])
	return last, nil
}

// setLastTID sets the TID of the page's last item.
func setLastTID(p *page.Page, t tid) error {
	tuple, err := indexItem(p, p.MaxOffset())
	if err == nil {
		copy(tuple, t[:])
	}
	return err
}

// redoBtreeDedup is btree_xlog_dedup: intervals of items become posting tuples.
func redoBtreeDedup(c *ctx, p *page.Page) error {
	if c.blk.ID != 0 {
		return errNoRedo
	}
	r := walrecord.NewCursor(c.main)
	n := int(r.U16())
	if err := checkRead(&r); err != nil {
		return err
	}
	r = walrecord.NewCursor(c.blk.Data)
	intervals := page.OffsetList(r.Bytes(4 * n)) // Pairs of base and number.
	if err := checkRead(&r); err != nil {
		return err
	}
	special, err := getBtreeSpecial(p)
	if err != nil {
		return err
	}
	special.flags &^= btreeHasGarbage
	var merged page.Page
	if err := initBtree(&merged, special); err != nil {
		return err
	}
	next := 0
	for k := 1; k <= p.MaxOffset(); {
		count := 1
		if next < n && int(intervals.At(2*next)) == k && k >= special.firstData() {
			count = int(intervals.At(2*next + 1))
			next++
		}
		if err := mergeBtreeItems(&merged, p, k, count); err != nil {
			return err
		}
		k += count
	}
	if next != n {
		return errBadRecord
	}
	*p = merged
	return nil
}

// mergeBtreeItems adds to dst one tuple of count items of src from first on.
func mergeBtreeItems(dst, src *page.Page, first, count int) error {
	base, err := indexItem(src, first)
	if err != nil {
		return err
	}
	if count == 1 {
		return dst.Append(base)
	}
	key, _, err := btreeTIDs(base)
	if err != nil {
		return err
	}
	n := 0
	for k := range count {
		tuple, err := indexItem(src, first+k)
		if err != nil {
			return err
		}
		_, tids, err := btreeTIDs(tuple)
		if err != nil {
			return err
		}
		n += len(tids) / lenTID
	}
	if n < 2 || n > btreePostingCount {
		return errBadRecord
	}
	tuple, err := dst.Place(uint16(dst.MaxOffset()+1), btreeFormedSize(key, n))
	if err != nil {
		return err
	}
	place := formBtreeTuple(tuple, key, n)
	for k := range count {
		tuple, err := indexItem(src, first+k)
		if err != nil {
			return err
		}
		_, tids, err := btreeTIDs(tuple)
		if err != nil {
			return err
		}
		place = place[copy(place, tids):]
	}
	return nil
}
