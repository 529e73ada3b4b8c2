package pageread

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Places in a btree's pages and tuples (src/include/access/nbtree.h, itup.h).
const (
	btreeMagic   = 0x053162
	btreeMagicAt = page.HeaderSize // of the first page
	btreeRootAt  = page.HeaderSize + 8

	btreeSpecial = 16
	btreeNextAt  = 4
	btreeLevelAt = 8
	btreeFlagsAt = 12

	btreeDeleted  = 0x0004
	btreeHalfDead = 0x0010

	indexInfoAt   = 6
	indexDataAt   = 8
	indexSizeMask = 0x1FFF
	indexAltTID   = 0x2000 // of t_info: t_tid is no TID
	indexHasNulls = 0x8000

	pivotColumns = 0x0FFF // of the offset number of a pivot tuple
	postingList  = 0x2000 // of that of a leaf's: there are several TIDs
	postingCount = 0x0FFF

	tidSize = 6

	// btreeMaxDepth is more than any btree has: with 200 children a page it would
	// have more pages than can be numbered.
	btreeMaxDepth = 16
)

// errIndex says that an index is not what was expected of it. What it was asked
// for can be found without it.
var errIndex = errors.New("index cannot be read")

// tid is where a tuple lies.
type tid struct {
	block  uint32
	offset uint16
}

func tidOf(b []byte) tid {
	u16 := binary.LittleEndian.Uint16
	return tid{block: uint32(u16(b))<<16 | uint32(u16(b[2:])), offset: u16(b[4:])}
}

// btree reads an index whose first columns are 32-bit numbers that are not null
// and are compared unsigned, as those of catalogs that begin with an OID.
type btree struct {
	r    *Reader
	file walrecord.RelFile
	at   At
	left uint32 // pages that may still be read: no chain is longer than the index
}

// lookup returns where the tuples are whose first columns are key. errIndex when
// the index cannot be relied on.
func (r *Reader) lookup(ctx context.Context, index walrecord.RelFile, at At, key []uint32) ([]tid, error) {
	blocks, err := r.Size(ctx, index, walrecord.ForkMain, at)
	if err != nil {
		return nil, err
	}
	b := btree{r: r, file: index, at: at, left: blocks + btreeMaxDepth}
	meta, err := r.Page(ctx, index, walrecord.ForkMain, 0, at)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(meta[btreeMagicAt:]) != btreeMagic {
		return nil, fmt.Errorf("%w: %s is no btree", errIndex, index)
	}
	root := binary.LittleEndian.Uint32(meta[btreeRootAt:])
	if root == 0 {
		return nil, nil
	}
	leaf, err := b.descend(ctx, root, key)
	if err != nil {
		return nil, err
	}
	return b.collect(ctx, leaf, key)
}

// node is a page of a btree.
type node struct {
	page  *page.Page
	next  uint32 // page to the right, 0 for none
	level uint32 // 0 is a leaf
	first int    // first item that is not the high key
	gone  bool   // deleted, or being deleted: what it had is to the right
}

func (b *btree) node(ctx context.Context, block uint32) (n node, err error) {
	if b.left == 0 {
		return n, fmt.Errorf("%w: %s has a loop", errIndex, b.file)
	}
	b.left--
	n.page, err = b.r.Page(ctx, b.file, walrecord.ForkMain, block, b.at)
	if err != nil {
		return n, err
	}
	special := n.page.SpecialArea(btreeSpecial)
	if block == 0 || special == nil || n.page.Check() != nil {
		return n, fmt.Errorf("%w: page %d of %s", errIndex, block, b.file)
	}
	n.next = binary.LittleEndian.Uint32(special[btreeNextAt:])
	n.level = binary.LittleEndian.Uint32(special[btreeLevelAt:])
	n.gone = binary.LittleEndian.Uint16(special[btreeFlagsAt:])&(btreeDeleted|btreeHalfDead) != 0
	n.first = 1
	if n.next != 0 {
		n.first = 2
	}
	if n.gone && n.next == 0 {
		return n, fmt.Errorf("%w: page %d of %s is the last one and deleted", errIndex, block, b.file)
	}
	return n, nil
}

// descend finds the leftmost leaf that may have the key.
func (b *btree) descend(ctx context.Context, block uint32, key []uint32) (node, error) {
	above := uint32(btreeMaxDepth)
	for {
		n, err := b.right(ctx, block, key)
		if err != nil || n.level == 0 {
			return n, err
		}
		if n.level >= above {
			return n, fmt.Errorf("%w: page %d of %s has level %d", errIndex, block, b.file, n.level)
		}
		above = n.level
		child, err := b.item(n, n.first)
		if err != nil {
			return n, err
		}
		for i := n.first + 1; i <= n.page.MaxOffset(); i++ {
			tuple, err := b.item(n, i)
			if err != nil {
				return n, err
			}
			if c, err := b.compare(tuple, key, false); err != nil {
				return n, err
			} else if c >= 0 {
				break
			}
			child = tuple
		}
		block = tidOf(child).block
	}
}

// right reads a page, or the one to the right of it that the key belongs on: the
// page was split, and the level above does not know yet.
func (b *btree) right(ctx context.Context, block uint32, key []uint32) (node, error) {
	for {
		n, err := b.node(ctx, block)
		if err != nil || n.next == 0 {
			return n, err
		}
		if !n.gone {
			high, err := b.item(n, 1)
			if err != nil {
				return n, err
			}
			if c, err := b.compare(high, key, false); err != nil || c >= 0 {
				return n, err
			}
		}
		block = n.next
	}
}

// collect takes the TIDs of a key from a leaf and those to the right of it.
func (b *btree) collect(ctx context.Context, n node, key []uint32) (tids []tid, err error) {
	for {
		for i := n.first; i <= n.page.MaxOffset() && !n.gone; i++ {
			tuple, err := b.item(n, i)
			if err != nil {
				return nil, err
			}
			c, err := b.compare(tuple, key, true)
			switch {
			case err != nil:
				return nil, err
			case c > 0:
				return tids, nil
			case c == 0:
				if tids, err = b.tids(tids, tuple); err != nil {
					return nil, err
				}
			}
		}
		if n.next == 0 {
			return tids, nil
		}
		if n, err = b.node(ctx, n.next); err != nil {
			return nil, err
		}
	}
}

// item is an index tuple, of the length that it says.
func (b *btree) item(n node, offset int) ([]byte, error) {
	item, err := n.page.Item(uint16(offset))
	if err == nil && len(item) >= indexDataAt {
		size := int(binary.LittleEndian.Uint16(item[indexInfoAt:])) & indexSizeMask
		if size >= indexDataAt && size <= len(item) {
			return item[:size], nil
		}
	}
	return nil, fmt.Errorf("%w: item %d of a page of %s", errIndex, offset, b.file)
}

// compare compares a tuple with a key. Columns that were cut off a pivot tuple
// are less than anything.
func (b *btree) compare(tuple []byte, key []uint32, leaf bool) (int, error) {
	info := binary.LittleEndian.Uint16(tuple[indexInfoAt:])
	columns := len(key)
	if info&indexAltTID != 0 && !leaf {
		columns = min(columns, int(tidOf(tuple).offset&pivotColumns))
	}
	if info&indexHasNulls != 0 || indexDataAt+4*columns > len(tuple) {
		return 0, fmt.Errorf("%w: tuple of %d bytes in %s", errIndex, len(tuple), b.file)
	}
	for i := range columns {
		v := binary.LittleEndian.Uint32(tuple[indexDataAt+4*i:])
		switch {
		case v < key[i]:
			return -1, nil
		case v > key[i]:
			return 1, nil
		}
	}
	if columns < len(key) {
		return -1, nil
	}
	return 0, nil
}

// tids appends those of a leaf's tuple.
func (b *btree) tids(dst []tid, tuple []byte) ([]tid, error) {
	own := tidOf(tuple)
	if binary.LittleEndian.Uint16(tuple[indexInfoAt:])&indexAltTID == 0 {
		return append(dst, own), nil
	}
	at, n := int(own.block), int(own.offset&postingCount)
	if own.offset&postingList == 0 || at < indexDataAt || at > len(tuple) || n*tidSize > len(tuple)-at {
		return nil, fmt.Errorf("%w: list of TIDs in %s", errIndex, b.file)
	}
	for ; n > 0; n, at = n-1, at+tidSize {
		dst = append(dst, tidOf(tuple[at:]))
	}
	return dst, nil
}
