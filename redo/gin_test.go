package redo

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// ginSegments is the dumb second implementation of a leaf of a posting tree:
// lists of TIDs as numbers.
type ginSegments [][]uint64

func (s ginSegments) encode() (b []byte) {
	for _, tids := range s {
		b = append(b, ginTIDs(tids[0])...)
		var diffs []byte
		for k := 1; k < len(tids); k++ {
			for v := tids[k] - tids[k-1]; ; v >>= 7 {
				if v < 0x80 {
					diffs = append(diffs, byte(v))
					break
				}
				diffs = append(diffs, byte(v)|0x80)
			}
		}
		b = append(b, le16(uint16(len(diffs)))...)
		b = append(b, diffs...)
		if len(diffs)%2 == 1 {
			b = append(b, 0)
		}
	}
	return b
}

// ginTIDs is numbers as TIDs.
func ginTIDs(tids ...uint64) (b []byte) {
	for _, v := range tids {
		block := uint32(v >> 11)
		b = append(b, le16(uint16(block>>16), uint16(block), uint16(v&0x7FF))...)
	}
	return b
}

func ginLeafPage(t require.TestingT, payload []byte) page.Page {
	var p page.Page
	initGin(&p, ginData|ginLeaf|ginCompressed)
	require.LessOrEqual(t, len(payload), len(ginPayload(&p)))
	setGinPayload(&p, copy(ginPayload(&p), payload))
	p.SetLSN(0x1000)
	return p
}

// recompressed is the payload of a leaf after actions.
func recompressed(t require.TestingT, p page.Page, actions []byte) []byte {
	r := handMade(walrecord.RmgrGin, ginVacuumDataLeafPage, nil, walrecord.Block{Data: actions})
	require.NoError(t, Apply(&p, r, 0, Options{}))
	return p[offGinPayload:p.Lower()]
}

func drawTIDs(t *rapid.T, label string) []uint64 {
	block := rapid.Uint64Range(0, 1<<32-2)
	if rapid.Bool().Draw(t, "dense") {
		block = rapid.Uint64Range(10, 20)
	}
	tids := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) uint64 {
		return block.Draw(t, "block")<<11 | rapid.Uint64Range(1, 291).Draw(t, "offset")
	}), 1, 12).Draw(t, label)
	slices.Sort(tids)
	return slices.Compact(tids)
}

// Every list of actions leaves what the dumb implementation makes of it.
func TestGinRecompress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var old, want ginSegments
		actions := []byte{0, 0}
		n := uint16(0)
		act := func(segment int, action byte, data []byte) {
			actions = append(append(actions, byte(segment), action), data...)
			n++
		}
		for k := range rapid.IntRange(0, 8).Draw(t, "segments") {
			tids := drawTIDs(t, "old")
			old = append(old, tids)
			for range rapid.IntRange(0, 2).Draw(t, "inserts") {
				fresh := drawTIDs(t, "inserted")
				act(k, ginSegmentInsert, ginSegments{fresh}.encode())
				want = append(want, fresh)
			}
			switch action := rapid.ByteRange(0, 4).Draw(t, "action"); action {
			case ginSegmentDelete:
				act(k, action, nil)
			case ginSegmentReplace:
				fresh := drawTIDs(t, "replacement")
				act(k, action, ginSegments{fresh}.encode())
				want = append(want, fresh)
			case ginSegmentAddItems:
				items := drawTIDs(t, "items")
				act(k, action, append(le16(uint16(len(items))), ginTIDs(items...)...))
				all := slices.Concat(tids, items)
				slices.Sort(all)
				want = append(want, slices.Compact(all))
			default:
				want = append(want, tids)
			}
		}
		binary.LittleEndian.PutUint16(actions, n)
		require.Equal(t, want.encode(), slices.Clip(append([]byte(nil), recompressed(t, ginLeafPage(t, old.encode()), actions)...)))
	})
}

// Leaves of an index from before 9.4 hold plain TIDs, maxoff of them.
func TestGinUncompressedLeaf(t *testing.T) {
	tids := []uint64{5<<11 | 1, 5<<11 | 9, 70000<<11 | 3}
	p := ginLeafPage(t, ginTIDs(tids...))
	special := ginSpecial{right: 7, maxoff: 3, flags: ginData | ginLeaf}
	require.NoError(t, special.put(&p))
	add := uint64(6<<11 | 2)
	actions := slices.Concat(le16(1), []byte{0, ginSegmentAddItems}, le16(1), ginTIDs(add))
	want := ginSegments{{tids[0], tids[1], add, tids[2]}}.encode()
	require.Equal(t, want, recompressed(t, p, actions))

	require.NoError(t, compressGinLeaf(&p, special))
	got, err := getGinSpecial(&p)
	require.NoError(t, err)
	require.Equal(t, ginSpecial{right: 7, flags: ginData | ginLeaf | ginCompressed}, got)
}

// Actions about segments that are not there, or in falling order, are errors.
func TestGinRecompressRefuses(t *testing.T) {
	segment := ginSegments{{1<<11 | 1, 1<<11 | 2}}.encode()
	for name, actions := range map[string][]byte{
		"no number":           {1},
		"delete, not there":   {1, 0, 1, ginSegmentDelete},
		"insert far behind":   append([]byte{1, 0, 3, ginSegmentInsert}, segment...),
		"falling order":       {2, 0, 0, ginSegmentDelete, 0, ginSegmentDelete},
		"unknown action":      {1, 0, 0, 5},
		"short segment":       append([]byte{1, 0, 0, ginSegmentReplace}, segment[:7]...),
		"short list of items": {1, 0, 0, ginSegmentAddItems, 2, 0, 0, 0, 0, 0, 1, 0},
		"items out of order":  append([]byte{1, 0, 0, ginSegmentAddItems, 2, 0}, ginTIDs(9<<11|1, 8<<11|1)...),
	} {
		p := ginLeafPage(t, segment)
		r := handMade(walrecord.RmgrGin, ginVacuumDataLeafPage, nil, walrecord.Block{Data: actions})
		require.Error(t, Apply(&p, r, 0, Options{}), name)
	}
}

// What does not fit is an error: the page's special area stays.
func TestGinRecompressOverflow(t *testing.T) {
	var many []uint64
	for k := range uint64(900) {
		many = append(many, k<<30|1)
	}
	segment := ginSegments{many}.encode()
	p := ginLeafPage(t, segment)
	before, err := getGinSpecial(&p)
	require.NoError(t, err)
	actions := slices.Concat(le16(1), []byte{0, ginSegmentInsert}, segment)
	for range 3 {
		r := handMade(walrecord.RmgrGin, ginVacuumDataLeafPage, nil, walrecord.Block{Data: actions})
		r.End = p.LSN() + 0x100
		err = Apply(&p, r, 0, Options{})
	}
	require.ErrorIs(t, err, errBadRecord)
	after, err := getGinSpecial(&p)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestGinPostingItems(t *testing.T) {
	item := func(child uint32, key uint16) []byte {
		b := make([]byte, lenGinPostingItem)
		putBlockID(b, child)
		binary.LittleEndian.PutUint16(b[8:], key)
		return b
	}
	var p page.Page
	initGin(&p, ginData)
	require.NoError(t, ginSpecial{right: invalidBlock, maxoff: 2, flags: ginData}.put(&p))
	setGinPayload(&p, copy(ginPayload(&p), slices.Concat(item(1, 10), item(2, 20))))

	require.NoError(t, insertGinPostingItem(&p, 2, item(2, 15), 3)) // Block 2 was split into 2 and 3.
	require.Equal(t, slices.Concat(item(1, 10), item(2, 15), item(3, 20)), p[offGinPayload:p.Lower()])
	require.NoError(t, deleteGinPostingItem(&p, 1))
	require.Equal(t, slices.Concat(item(2, 15), item(3, 20)), p[offGinPayload:p.Lower()])
	require.ErrorIs(t, deleteGinPostingItem(&p, 3), page.ErrOffset)
	require.ErrorIs(t, insertGinPostingItem(&p, 0, item(0, 0), 0), page.ErrOffset)

	require.NoError(t, ginSpecial{maxoff: 0xFFFF, flags: ginData}.put(&p))
	require.ErrorIs(t, insertGinPostingItem(&p, 5, item(0, 0), 0), errBadPage)
	require.ErrorIs(t, deleteGinPostingItem(&p, 5), errBadPage)
}
