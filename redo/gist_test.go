package redo

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

func gistTuple(value byte) []byte {
	return slices.Concat(le16(0, 9, 1, 16), []byte{value, 0, 0, 0, 0, 0, 0, 0})
}

func gistPageOf(t testing.TB, flags uint16, tuples ...[]byte) page.Page {
	t.Helper()
	var p page.Page
	require.NoError(t, fillGist(&p, invalidBlock, flags, 0x500, append(le32(uint32(len(tuples))), slices.Concat(tuples...)...)))
	p.SetLSN(0x1000)
	return p
}

// The left half of a split is marked as known to its parent even when it came
// as an image, which was taken before the mark.
func TestGistChildAfterImage(t *testing.T) {
	child := gistPageOf(t, gistLeaf|gistFollowRight, gistTuple(1))
	split := slices.Concat(le32(7, 0, 0x500, 0), []byte{0, 0, 2, 0, 1, 0, 0, 0})
	for name, r := range map[string]*walrecord.Record{
		"update": handMade(walrecord.RmgrGist, gistPageUpdate, le16(0, 1), walrecord.Block{ID: 1}),
		"split":  handMade(walrecord.RmgrGist, gistPageSplit, split, walrecord.Block{ID: 0}),
	} {
		for _, restore := range []bool{false, true} {
			before := child
			if restore {
				before = page.Page{}
				r.Blocks[0].HasImage = true
				r.Blocks[0].Image = walrecord.Image{Apply: true, Data: child[:]}
			}
			p := applied(t, r, 0, before)
			require.Equal(t, slices.Concat(le32(0, 0x2100, invalidBlock), le16(gistLeaf, gistPageID)),
				p.SpecialArea(lenGistSpecial), "%s %v", name, restore)
		}
	}
}

// Flags and links of the pages that a split makes, root or not, and while an
// index is built, where nobody follows links.
func TestGistSplitPages(t *testing.T) {
	for _, c := range []struct {
		name         string
		root, follow bool
		rights       [3]uint32
		nsn          uint32
		flags        [3]uint16
	}{
		{"not the root", false, true, [3]uint32{102, 103, 7}, 0x500, [3]uint16{gistLeaf | gistFollowRight, gistLeaf | gistFollowRight, gistLeaf}},
		{"root", true, true, [3]uint32{invalidBlock, 103, 7}, 0x500, [3]uint16{0, gistLeaf, gistLeaf}},
		{"build", false, false, [3]uint32{102, 103, 7}, 0x500, [3]uint16{gistLeaf, gistLeaf, gistLeaf}},
	} {
		t.Run(c.name, func(t *testing.T) {
			main := slices.Concat(le32(7, 0, c.nsn, 0), []byte{1, 0, 3, 0, 0, 0, 0, 0})
			if c.follow {
				main[20] = 1
			}
			data := append(le32(2), slices.Concat(gistTuple(1), gistTuple(2))...)
			r := handMade(walrecord.RmgrGist, gistPageSplit, main,
				walrecord.Block{ID: 1, WillInit: true, Data: data}, walrecord.Block{ID: 2, WillInit: true, Data: data},
				walrecord.Block{ID: 3, WillInit: true, Data: data})
			if c.root {
				r.Blocks[0].Block = gistRoot
			}
			for i := range 3 {
				p := applied(t, r, i, page.Page{})
				require.Equal(t, slices.Concat(le32(0, c.nsn, c.rights[i]), le16(c.flags[i], gistPageID)), p.SpecialArea(lenGistSpecial))
				require.Equal(t, 2, p.MaxOffset())
			}
		})
	}
}

// The form of the record tells where its offset numbers are, not the version.
func TestGistDeleteForms(t *testing.T) {
	before := gistPageOf(t, gistLeaf|gistHasGarbage, gistTuple(1), gistTuple(2), gistTuple(3), gistTuple(4))
	old := handMade(walrecord.RmgrGist, gistDelete, slices.Concat(le32(5), le16(2, 1, 3)), walrecord.Block{})
	since16 := handMade(walrecord.RmgrGist, gistDelete, slices.Concat(le32(5), le16(2, 1, 1, 3)), walrecord.Block{})
	p := applied(t, old, 0, before)
	require.Equal(t, 2, p.MaxOffset())
	require.Equal(t, uint16(gistLeaf|gistTuplesDeleted), binary.LittleEndian.Uint16(p.SpecialArea(lenGistSpecial)[offGistFlags:]))
	require.Equal(t, p, applied(t, since16, 0, before))
}

func TestGistReplaceInPlace(t *testing.T) {
	before := gistPageOf(t, 0, gistTuple(1), gistTuple(2), gistTuple(3))
	longer := append(gistTuple(9), make([]byte, 8)...)
	binary.LittleEndian.PutUint16(longer[offIndexInfo:], uint16(len(longer)))
	r := handMade(walrecord.RmgrGist, gistPageUpdate, le16(1, 1), walrecord.Block{Data: append(le16(2), longer...)})
	p := applied(t, r, 0, before)
	for k, want := range [][]byte{gistTuple(1), longer, gistTuple(3)} {
		got, err := p.Item(uint16(k + 1))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}
