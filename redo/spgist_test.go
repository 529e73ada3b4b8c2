package redo

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// spgistLeafTuple is a live leaf tuple whose list goes on at next.
func spgistLeafTuple(next uint16, value byte) []byte {
	b := slices.Concat(le32(16<<2), le16(next), []byte{0, 0, 0, 9, 0, 1}, []byte{value, value, value, value})
	return b[:16]
}

// spgistInnerTuple has nodes that lead to block 50, offset 1 and so on.
func spgistInnerTuple(nodes int) []byte {
	b := slices.Concat(le16(uint16(nodes)<<spgistNodeShift, 0, uint16(8+8*nodes), 0))
	for k := range nodes {
		b = append(b, le16(0, 50, uint16(k+1), 8)...)
	}
	return b
}

func spgistPage(t testing.TB, flags uint16, tuples ...[]byte) page.Page {
	t.Helper()
	var p page.Page
	initSPGist(&p, flags)
	for _, tuple := range tuples {
		require.NoError(t, p.Append(tuple))
	}
	p.SetLSN(0x1000)
	return p
}

// spgistStates is what a page's tuples are, and whether it counts them right.
func spgistStates(t testing.TB, p *page.Page) (states []uint8) {
	t.Helper()
	count := map[uint8]int{}
	for k := range p.MaxOffset() {
		item, err := p.Item(uint16(k + 1))
		require.NoError(t, err)
		states = append(states, spgistState(item))
		count[spgistState(item)]++
	}
	special := p.SpecialArea(lenSPGistSpecial)
	require.Equal(t, count[spgistRedirect], int(binary.LittleEndian.Uint16(special[2:])), "redirects")
	require.Equal(t, count[spgistPlaceholder], int(binary.LittleEndian.Uint16(special[4:])), "placeholders")
	return states
}

func spgistItemOf(t testing.TB, p *page.Page, offnum uint16) []byte {
	t.Helper()
	item, err := p.Item(offnum)
	require.NoError(t, err)
	return item
}

// spgistXID and build are spgxlogState.
func spgistStateData(build byte) []byte { return append(le32(777), build, 0, 0, 0) }

// Until 12 index builds were logged record by record; nothing says that no
// record with isBuild will come again. Servers also always have another list to
// move than one whose head is dead.
func TestSPGistMoveLeafs(t *testing.T) {
	leaves := [][]byte{spgistLeafTuple(2, 1), spgistLeafTuple(3, 2), spgistLeafTuple(0, 3), spgistLeafTuple(0, 4)}
	source := spgistPage(t, spgistFlagLeaf, leaves...)
	parent := spgistPage(t, 0, spgistInnerTuple(3))
	for _, c := range []struct {
		name        string
		build       byte
		replaceDead byte
		source      []uint8
		places      []uint16
	}{
		{"normal", 0, 0, []uint8{1, 3, 3, 0}, []uint16{1, 2, 3, 4}},
		{"build", 1, 0, []uint8{3, 3, 3, 0}, []uint16{1, 2, 3, 4}},
		{"dead head", 0, 1, []uint8{1, 3, 3, 0}, []uint16{1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			main := slices.Concat(le16(3), []byte{1, c.replaceDead, 0, 0}, le16(1, 2, 0), spgistStateData(c.build),
				le16(1, 3, 2), le16(c.places...))
			for k := range c.places {
				main = append(main, spgistLeafTuple(0, byte(10+k))...)
			}
			r := handMade(walrecord.RmgrSPGist, spgistMoveLeafs, main,
				walrecord.Block{}, walrecord.Block{ID: 1, WillInit: true}, walrecord.Block{ID: 2})
			last := c.places[len(c.places)-1]

			p := applied(t, r, 0, source)
			require.Equal(t, c.source, spgistStates(t, p))
			head := spgistItemOf(t, p, 1)
			if c.build == 0 {
				require.Equal(t, slices.Concat(le32(16<<2|1), le16(0, 0, 101, last), le32(777)), head)
			} else {
				require.Equal(t, slices.Concat(le32(16<<2|3), le16(0, 0xFFFF, 0xFFFF, 0), le32(0)), head)
			}
			require.Equal(t, leaves[3], spgistItemOf(t, p, 4))

			p = applied(t, r, 1, page.Page{})
			require.Len(t, spgistStates(t, p), len(c.places))
			p = applied(t, r, 2, parent)
			require.Equal(t, slices.Concat(le16(0, 50, 2, 8), le16(0, 101, last, 8)), spgistItemOf(t, p, 1)[16:32])
		})
	}
}

// The parent of an inner tuple that moves may be where it was, where it goes,
// or elsewhere.
func TestSPGistAddNode(t *testing.T) {
	two := spgistPage(t, 0, spgistInnerTuple(2), spgistInnerTuple(3))
	for _, c := range []struct {
		name   string
		parent byte
		build  byte
	}{
		{"parent stays", 0, 0},
		{"parent is there", 1, 0},
		{"parent elsewhere", 2, 0},
		{"parent stays, build", 0, 1},
		{"parent is there, build", 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			main := slices.Concat(le16(2, 3), []byte{0, c.parent}, le16(1, 1, 0), spgistStateData(c.build), spgistInnerTuple(4))
			r := handMade(walrecord.RmgrSPGist, spgistAddNode, main,
				walrecord.Block{}, walrecord.Block{ID: 1}, walrecord.Block{ID: 2})
			for i := range 2 {
				p := applied(t, r, i, two)
				states := spgistStates(t, p)
				link := spgistItemOf(t, p, 1)[16:24]
				if byte(i) == c.parent {
					require.Equal(t, le16(0, 101, 3, 8), link)
				} else {
					require.Equal(t, le16(0, 50, 2, 8), link)
				}
				switch {
				case i == 1:
					require.Equal(t, []uint8{0, 0, 0}, states)
					require.Equal(t, spgistInnerTuple(4), spgistItemOf(t, p, 3))
				case c.build != 0:
					require.Equal(t, []uint8{0, 3}, states)
				default:
					require.Equal(t, []uint8{0, 1}, states)
				}
			}
			if c.parent == 2 {
				require.Equal(t, le16(0, 101, 3, 8), spgistItemOf(t, applied(t, r, 2, two), 1)[16:24])
			}
		})
	}
}

// A source page whose list is all that it holds is built anew.
func TestSPGistPickSplitInitSource(t *testing.T) {
	for _, build := range []byte{0, 1} {
		main := slices.Concat([]byte{0, 0}, le16(2, 3), []byte{1, 0}, le16(1), []byte{0, 0, 0, 0}, le16(1, 2, 0),
			spgistStateData(build), le16(1, 2), le16(1, 2, 1), []byte{0, 0, 1}, spgistInnerTuple(2),
			spgistLeafTuple(2, 1), spgistLeafTuple(0, 2), spgistLeafTuple(0, 3))
		init := handMade(walrecord.RmgrSPGist, spgistPickSplit, main,
			walrecord.Block{WillInit: true}, walrecord.Block{ID: 1}, walrecord.Block{ID: 2}, walrecord.Block{ID: 3})
		p := applied(t, init, 0, spgistPage(t, 0, spgistInnerTuple(9)))
		require.Equal(t, []uint8{0, 0}, spgistStates(t, p))
		require.Equal(t, spgistLeafTuple(0, 2), spgistItemOf(t, p, 2))
		require.Equal(t, []uint8{0}, spgistStates(t, applied(t, init, 1, spgistPage(t, spgistFlagLeaf))))
		require.Equal(t, spgistInnerTuple(2), spgistItemOf(t, applied(t, init, 2, spgistPage(t, 0)), 1))
		parent := applied(t, init, 3, spgistPage(t, 0, spgistInnerTuple(3)))
		require.Equal(t, le16(0, 102, 1, 8), spgistItemOf(t, parent, 1)[24:32])

		init.Blocks[0].WillInit = false // Then the places of the old tuples are kept.
		leaf := spgistPage(t, spgistFlagLeaf, spgistLeafTuple(2, 7), spgistLeafTuple(0, 8), spgistLeafTuple(0, 9))
		r := handMade(walrecord.RmgrSPGist, spgistPickSplit, slices.Clone(main), init.Blocks...)
		copy(r.MainData[32:], le16(4, 5, 1)) // Where the new ones go.
		want := []uint8{spgistRedirect, spgistPlaceholder, 0, 0, 0}
		if build == 1 {
			want[0] = spgistPlaceholder
		}
		require.Equal(t, want, spgistStates(t, applied(t, r, 0, leaf)))
	}
}

// A tuple never takes the place of one that is in use.
func TestSPGistPlaceInUse(t *testing.T) {
	p := spgistPage(t, spgistFlagLeaf, spgistLeafTuple(0, 1))
	require.ErrorIs(t, addSPGistTuple(&p, 1, spgistLeafTuple(0, 2)), errBadPage)
	require.ErrorIs(t, addSPGistTuple(&p, 3, spgistLeafTuple(0, 2)), page.ErrOffset)
	require.ErrorIs(t, setSPGistLink(&p, 1, 0, 5, 5), errBadPage) // A leaf tuple has no nodes.
}
