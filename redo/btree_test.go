package redo

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// btreeTuple is a leaf tuple of an 8-byte key with these TIDs, given by their
// block numbers: a posting tuple if there are several.
func btreeTuple(key byte, blocks ...uint32) []byte {
	var tids []byte
	for _, b := range blocks {
		tids = append(tids, le16(uint16(b>>16), uint16(b), 1)...)
	}
	value := []byte{key, 0, 0, 0, 0, 0, 0, 0}
	if len(blocks) == 1 {
		return slices.Concat(tids, le16(16), value)
	}
	size := 16 + len(tids)
	b := slices.Concat(le16(0, 16, btreeIsPosting|uint16(len(blocks)), indexAltTID|uint16(page.Align(size))), value, tids)
	return append(b, make([]byte, page.Align(size)-size)...)
}

func btreeLeafPage(t require.TestingT, tuples ...[]byte) page.Page {
	var p page.Page
	require.NoError(t, initBtree(&p, btreeSpecial{flags: btreeLeaf}))
	for _, tuple := range tuples {
		require.NoError(t, p.Append(tuple))
	}
	p.SetLSN(0x1000)
	return p
}

func itemsOf(t require.TestingT, p *page.Page) (items [][]byte) {
	for k := range p.MaxOffset() {
		item, err := p.Item(uint16(k + 1))
		require.NoError(t, err)
		items = append(items, slices.Clone(item))
	}
	return items
}

func drawBlocks(t *rapid.T, least int) []uint32 {
	blocks := rapid.SliceOfNDistinct(rapid.Uint32Max(1<<20), least, 20, rapid.ID).Draw(t, "blocks")
	slices.Sort(blocks)
	return blocks
}

// Inserting into a posting list keeps it sorted and complete, whatever the place.
func TestBtreeInsertPosting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := drawBlocks(t, 3)
		place := rapid.IntRange(1, len(all)-2).Draw(t, "place") // In the old list, neither first nor behind it.
		old := slices.Delete(slices.Clone(all), place, place+1)
		p := btreeLeafPage(t, btreeTuple(1, old...), btreeTuple(2, 5))
		data := append(le16(uint16(place)), btreeTuple(1, all[place])...)
		r := handMade(walrecord.RmgrBtree, btreeInsertPost, le16(2), walrecord.Block{Data: data})
		require.NoError(t, Apply(&p, r, 0, Options{}))
		n := len(all) - 1
		require.Equal(t, [][]byte{btreeTuple(1, all[:n]...), btreeTuple(1, all[n]), btreeTuple(2, 5)}, itemsOf(t, &p))
	})
}

// Dropping TIDs leaves the tuple that the rest would have made.
func TestBtreeDropFromPosting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := drawBlocks(t, 2)
		var keep []uint32
		var drop []uint16
		for k, b := range all {
			if rapid.Bool().Draw(t, "drop") {
				drop = append(drop, uint16(k))
			} else {
				keep = append(keep, b)
			}
		}
		if len(keep) == 0 || len(drop) == 0 {
			t.Skip("the whole item goes, or none of it")
		}
		p := btreeLeafPage(t, btreeTuple(0, 9), btreeTuple(1, all...), btreeTuple(2, 5), btreeTuple(3, 6))
		data := slices.Concat(le16(3), le16(2), le16(uint16(len(drop))), le16(drop...))
		r := handMade(walrecord.RmgrBtree, btreeVacuum, le16(1, 1), walrecord.Block{Data: data})
		require.NoError(t, Apply(&p, r, 0, Options{}))
		require.Equal(t, [][]byte{btreeTuple(0, 9), btreeTuple(1, keep...), btreeTuple(3, 6)}, itemsOf(t, &p))
	})
}

// Merging items keeps all TIDs; a posting tuple may be among them.
func TestBtreeDedup(t *testing.T) {
	p := btreeLeafPage(t, btreeTuple(1, 1), btreeTuple(2, 2), btreeTuple(2, 3, 4), btreeTuple(2, 5), btreeTuple(3, 6))
	r := handMade(walrecord.RmgrBtree, btreeDedup, le16(1), walrecord.Block{Data: le16(2, 3)})
	require.Equal(t, [][]byte{btreeTuple(1, 1), btreeTuple(2, 2, 3, 4, 5), btreeTuple(3, 6)}, itemsOf(t, applied(t, r, 0, p)))

	for name, intervals := range map[string][]byte{
		"not there":   le16(6, 2),
		"too long":    le16(4, 3),
		"of no items": le16(2, 0),
	} {
		r.Blocks[0].Data = intervals
		q := p
		require.Error(t, Apply(&q, r, 0, Options{}), name)
	}
}

// The new item of a split that fell into a posting list takes the list's last
// TID, wherever it goes.
func TestBtreeSplitPosting(t *testing.T) {
	old := btreeLeafPage(t, btreeTuple(1, 1), btreeTuple(2, 2, 4, 6), btreeTuple(3, 7), btreeTuple(4, 8))
	highKey := btreeTuple(9, 9)
	for _, c := range []struct {
		name                string
		op                  uint8
		firstRight, newItem uint16
		want                [][]byte
	}{
		{"left", btreeSplitLeft, 4, 3, [][]byte{highKey, btreeTuple(1, 1), btreeTuple(2, 2, 3, 4), btreeTuple(2, 6), btreeTuple(3, 7)}},
		{"left, last", btreeSplitLeft, 3, 3, [][]byte{highKey, btreeTuple(1, 1), btreeTuple(2, 2, 3, 4), btreeTuple(2, 6)}},
		{"right, first", btreeSplitRight, 3, 3, [][]byte{highKey, btreeTuple(1, 1), btreeTuple(2, 2, 3, 4)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			main := slices.Concat(le32(0), le16(c.firstRight, c.newItem, 1))
			data := slices.Concat(btreeTuple(2, 3), highKey)
			r := handMade(walrecord.RmgrBtree, c.op, main, walrecord.Block{Data: data}, walrecord.Block{ID: 1, WillInit: true})
			p := applied(t, r, 0, old)
			require.Equal(t, c.want, itemsOf(t, p))
			s, err := getBtreeSpecial(p)
			require.NoError(t, err)
			require.Equal(t, btreeSpecial{next: 101, flags: btreeLeaf | btreeIncompleteSplit}, s)
		})
	}
}

func TestBtreeMeta(t *testing.T) {
	data := slices.Concat(le32(4, 3, 1, 3, 1, 17), []byte{1, 0, 0, 0})
	r := handMade(walrecord.RmgrBtree, btreeMetaCleanup, nil, walrecord.Block{WillInit: true, Data: data})
	p := applied(t, r, 0, page.Page{})
	meta := p.Contents()
	require.Equal(t, le32(btreeMagic, 4, 3, 1, 3, 1, 17, 0), meta[:32])
	require.InDelta(t, -1.0, math.Float64frombits(binary.LittleEndian.Uint64(meta[32:])), 0)
	require.Equal(t, byte(1), meta[40])
	require.Equal(t, 72, p.Lower())
}
