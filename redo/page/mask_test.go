package page

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// special builds a page of three 30-byte items with the given special area.
func special(t *testing.T, area []byte) Page {
	t.Helper()
	var p Page
	p.Init(len(area))
	for i := range 3 {
		item := make([]byte, 30)
		item[22], item[29] = 24, byte(i+1)
		binary.LittleEndian.PutUint16(item[16:], uint16(i+1)) // A heap tuple's own offset number.
		require.NoError(t, p.Append(item))
	}
	copy(p.SpecialArea(len(area)), area)
	return p
}

func flags(size, at int, v uint16) []byte {
	b := make([]byte, size)
	binary.LittleEndian.PutUint16(b[at:], v)
	return b
}

// TestMasks: what each mask ignores and what it does not, strictly and not.
func TestMasks(t *testing.T) {
	const both, lenient, none = 2, 1, 0
	at := func(i int, v byte) func(*Page) { return func(p *Page) { p[i] ^= v } }
	tail := func(i int, v byte) func(*Page) { return at(Size-i, v) }
	kill := func(p *Page) { _ = p.SetPointer(2, p.Pointer(2).WithFlags(Dead)) }
	drop := func(p *Page) { _ = p.SetPointer(2, p.Pointer(2).WithFlags(Unused)) }
	item := func(i int, v byte) func(*Page) {
		return func(p *Page) { p[p.Pointer(2).Offset()+i] ^= v }
	}
	for _, c := range []struct {
		name    string
		mask    Mask
		page    Page
		change  func(*Page)
		ignored int
	}{
		{"heap lsn", MaskHeap, special(t, nil), at(3, 1), both},
		{"heap checksum", MaskHeap, special(t, nil), at(8, 1), both},
		{"heap hole", MaskHeap, special(t, nil), at(4000, 1), both},
		{"heap prune xid", MaskHeap, special(t, nil), at(20, 1), both},
		{"heap full", MaskHeap, special(t, nil), at(10, 2), both},
		{"heap all-visible", MaskHeap, special(t, nil), at(10, 4), lenient},
		{"heap data", MaskHeap, special(t, nil), item(29, 1), none},
		{"heap padding", MaskHeap, special(t, nil), item(31, 1), both},
		{"heap cid", MaskHeap, special(t, nil), item(8, 1), both},
		{"heap xmax", MaskHeap, special(t, nil), item(4, 1), none},
		{"heap hint", MaskHeap, special(t, nil), item(21, 1), both},
		{"heap frozen", MaskHeap, special(t, nil), item(21, 3), none},
		{"heap multi", MaskHeap, special(t, nil), item(21, 0x10), lenient},
		{"heap null bit", MaskHeap, special(t, nil), item(20, 1), none},
		{"heap ctid", MaskHeap, special(t, nil), item(16, 1), none},
		{"heap token", MaskHeap, special(t, nil), func(p *Page) {
			binary.LittleEndian.PutUint16(p[p.Pointer(2).Offset()+16:], specOffset)
			p[p.Pointer(2).Offset()+12] = 99
		}, both},
		{"heap dead", MaskHeap, special(t, nil), kill, none},
		{"map", MaskVisibilityMap, func() Page { var p Page; p.Init(0); return p }(), at(30, 1), lenient},
		{"btree leaf killed", MaskBtree, special(t, flags(16, 12, btreeLeaf)), kill, both},
		{"btree leaf unused", MaskBtree, special(t, flags(16, 12, btreeLeaf)), drop, lenient},
		{"btree inner killed", MaskBtree, special(t, flags(16, 12, 0)), kill, none},
		{"btree garbage", MaskBtree, special(t, flags(16, 12, btreeLeaf)), tail(4, btreeGarbage), both},
		{"btree cycle", MaskBtree, special(t, flags(16, 12, btreeLeaf)), tail(1, 1), both},
		{"btree level", MaskBtree, special(t, flags(16, 12, btreeLeaf)), tail(8, 1), none},
		{"hash bucket killed", MaskHash, special(t, flags(16, 12, hashBucket)), kill, both},
		{"hash dead flag", MaskHash, special(t, flags(16, 12, hashBucket)), tail(4, hashDeadTuples), both},
		{"hash split flag", MaskHash, special(t, flags(16, 12, hashBucket)), tail(4, 0x20), none},
		{"hash unused", MaskHash, special(t, flags(16, 12, 0)), item(1, 1), both},
		{"gin data", MaskGin, special(t, flags(8, 6, 2)), item(1, 1), none},
		{"gin deleted", MaskGin, special(t, flags(8, 6, ginDeleted)), item(1, 1), both},
		{"gin rightlink", MaskGin, special(t, flags(8, 6, 2)), tail(8, 1), none},
		{"gist nsn", MaskGist, special(t, flags(16, 12, gistLeaf)), tail(16, 1), both},
		{"gist follow", MaskGist, special(t, flags(16, 12, gistLeaf)), tail(4, gistFollow), both},
		{"gist killed", MaskGist, special(t, flags(16, 12, gistLeaf)), kill, both},
		{"gist rightlink", MaskGist, special(t, flags(16, 12, gistLeaf)), tail(8, 1), none},
		{"spgist hole", MaskSPGist, special(t, flags(8, 0, 4)), at(4000, 1), both},
		{"spgist count", MaskSPGist, special(t, flags(8, 0, 4)), tail(5, 1), none},
		{"brin evacuate", MaskBRIN, special(t, flags(8, 6, brinRegular)), tail(4, 1), both},
		{"brin hole", MaskBRIN, special(t, flags(8, 6, brinRegular)), at(4000, 1), both},
		{"brin map", MaskBRIN, special(t, flags(8, 6, 0xF092)), at(4000, 1), none},
		{"plain hole", MaskPlain, special(t, flags(8, 0, 0x1717)), at(4000, 1), both},
		{"plain data", MaskPlain, special(t, flags(8, 0, 0x1717)), item(20, 1), none},
		{"image", MaskImage, special(t, nil), at(4000, 1), none},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, strict := range []bool{false, true} {
				a, b := c.page, c.page
				c.change(&b)
				require.NotEqual(t, a, b)
				c.mask(&a, 0, strict)
				c.mask(&b, 0, strict)
				require.Equal(t, c.ignored == both || c.ignored == lenient && !strict, a == b, "strict=%v", strict)
			}
		})
	}
}
