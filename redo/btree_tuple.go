package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Index tuples (IndexTupleData, src/include/access/itup.h): t_tid of 6 bytes,
// t_info of 2, then null bitmap and values.
const (
	lenIndexTuple = 8
	lenTID        = 6
	offIndexInfo  = 6

	indexSizeMask = 0x1FFF
	indexAltTID   = 0x2000 // btree: t_tid does not name a heap tuple
)

// Posting tuples of btrees hold many TIDs: the flag stands in t_tid's offset
// number beside their count, the place of the first in its block number.
const (
	btreeIsPosting    = 0x2000
	btreePostingCount = 0x0FFF
)

// indexTupleSize is t_info's size of the tuple that b begins with, 0 when b is
// shorter than that or than a tuple's header.
func indexTupleSize(b []byte) int {
	if len(b) < lenIndexTuple {
		return 0
	}
	size := int(binary.LittleEndian.Uint16(b[offIndexInfo:])) & indexSizeMask
	if size < lenIndexTuple || size > len(b) {
		return 0
	}
	return size
}

// takeIndexTuple takes the next index tuple of a record.
func takeIndexTuple(r *walrecord.Cursor) []byte {
	size := indexTupleSize(r.Rest)
	if size == 0 {
		r.Bad = true
		r.Rest = nil
		return nil
	}
	return r.Bytes(size)
}

// takeAlignedIndexTuple takes the next index tuple with its padding.
func takeAlignedIndexTuple(r *walrecord.Cursor) []byte {
	return r.Bytes(max(page.Align(indexTupleSize(r.Rest)), lenIndexTuple))
}

// appendIndexTuples adds the index tuples in data behind the last item.
func appendIndexTuples(p *page.Page, data []byte) error {
	for r := walrecord.NewCursor(data); len(r.Rest) > 0; {
		tuple := takeIndexTuple(&r)
		if err := checkRead(&r); err != nil {
			return err
		}
		if err := p.Append(tuple); err != nil {
			return err
		}
	}
	return nil
}

// indexItem is the index tuple of line pointer offnum, aliasing the page, of
// the length that it says.
func indexItem(p *page.Page, offnum int) ([]byte, error) {
	if offnum < 1 || offnum > page.Size {
		return nil, page.ErrOffset
	}
	item, err := p.Item(uint16(offnum))
	if err != nil {
		return nil, err
	}
	size := indexTupleSize(item)
	if size == 0 {
		return nil, errBadPage
	}
	return item[:size:size], nil
}

// blockID reads a block number stored as BlockIdData: two u16, high half first.
func blockID(b []byte) uint32 {
	return uint32(binary.LittleEndian.Uint16(b))<<16 | uint32(binary.LittleEndian.Uint16(b[2:]))
}

func putBlockID(b []byte, block uint32) {
	binary.LittleEndian.PutUint16(b, uint16(block>>16))
	binary.LittleEndian.PutUint16(b[2:], uint16(block))
}

// putTupleID writes an ItemPointerData.
func putTupleID(b []byte, block uint32, offnum uint16) {
	putBlockID(b, block)
	binary.LittleEndian.PutUint16(b[4:], offnum)
}

// isBtreePosting reports whether an index tuple holds a list of TIDs.
func isBtreePosting(tuple []byte) bool {
	return binary.LittleEndian.Uint16(tuple[offIndexInfo:])&indexAltTID != 0 &&
		binary.LittleEndian.Uint16(tuple[4:])&btreeIsPosting != 0
}

// btreePosting splits a posting tuple into what precedes its TIDs and these.
func btreePosting(tuple []byte) (key, tids []byte, err error) {
	if !isBtreePosting(tuple) {
		return nil, nil, errBadPage
	}
	at := int(blockID(tuple))
	n := int(binary.LittleEndian.Uint16(tuple[4:]) & btreePostingCount)
	if at < lenIndexTuple || n == 0 || at > len(tuple) || n*lenTID > len(tuple)-at {
		return nil, nil, errBadPage
	}
	return tuple[:at:at], tuple[at : at+n*lenTID : at+n*lenTID], nil
}

// btreeTIDs splits any leaf tuple into what precedes its TIDs, or the whole of
// it, and its TIDs.
func btreeTIDs(tuple []byte) (key, tids []byte, err error) {
	if isBtreePosting(tuple) {
		return btreePosting(tuple)
	}
	return tuple, tuple[:lenTID:lenTID], nil
}

// btreeFormedSize is the size of a leaf tuple of a key and n TIDs
// (_bt_form_posting).
func btreeFormedSize(key []byte, n int) int {
	if n == 1 {
		return len(key)
	}
	return page.Align(len(key) + n*lenTID)
}

// formBtreeTuple fills tuple, of the size that btreeFormedSize says, with all
// but the TIDs, and returns their place.
func formBtreeTuple(tuple, key []byte, n int) (tids []byte) {
	clear(tuple[copy(tuple, key):])
	info := binary.LittleEndian.Uint16(key[offIndexInfo:])&^indexSizeMask | uint16(len(tuple))
	if n == 1 {
		binary.LittleEndian.PutUint16(tuple[offIndexInfo:], info&^indexAltTID)
		return tuple[:lenTID]
	}
	binary.LittleEndian.PutUint16(tuple[offIndexInfo:], info|indexAltTID)
	putTupleID(tuple, uint32(len(key)), btreeIsPosting|uint16(n))
	return tuple[len(key) : len(key)+n*lenTID]
}
