package page

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/walhaven/walhaven/wal"
)

func TestHeader(t *testing.T) {
	var p Page
	require.True(t, p.IsNew())
	require.Error(t, p.Check())
	p.Init(15)
	require.NoError(t, p.Check())
	require.Equal(t, []int{24, 8176, 8176}, []int{p.Lower(), p.Upper(), p.Special()})
	require.Equal(t, uint16(0x2004), binary.LittleEndian.Uint16(p[18:]))
	p.SetLSN(wal.LSN(0x0123456789ABCDEF))
	require.Equal(t, wal.LSN(0x0123456789ABCDEF), p.LSN())
	require.Equal(t, []byte{0x67, 0x45, 0x23, 0x01, 0xEF, 0xCD, 0xAB, 0x89}, p[:8], "high half first")
	require.Len(t, p.SpecialArea(16), 16)
	require.Nil(t, p.SpecialArea(17))
}

// model is a page as a list of items: what its pointers must say, without where.
type model [][]byte

func (m model) check(t require.TestingT, p *Page) {
	require.NoError(t, p.Check())
	require.Equal(t, len(m), p.MaxOffset())
	free := p.Special() - p.Lower()
	for i, want := range m {
		if want == nil {
			require.Equal(t, Pointer(0), p.Pointer(uint16(i+1)))
			continue
		}
		got, err := p.Item(uint16(i + 1))
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), "item %d", i+1)
		free -= Align(len(want))
	}
	require.Equal(t, free, p.Upper()-p.Lower(), "no byte between the tuples is lost")
}

// TestIndexOperations compares with a list what inserting, deleting and
// overwriting do to the items.
func TestIndexOperations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p Page
		p.Init(16)
		var m model
		item := rapid.SliceOfN(rapid.Byte(), 1, 700)
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				at, b := rapid.IntRange(0, len(m)).Draw(t, "at"), item.Draw(t, "item")
				if err := p.Insert(uint16(at+1), b); err != nil {
					require.ErrorIs(t, err, ErrNoSpace)
					return
				}
				m = append(m[:at], append(model{b}, m[at:]...)...)
			},
			"overwrite": func(t *rapid.T) {
				if len(m) == 0 {
					t.Skip()
				}
				at, b := rapid.IntRange(0, len(m)-1).Draw(t, "at"), item.Draw(t, "item")
				if err := p.Overwrite(uint16(at+1), b); err != nil {
					require.ErrorIs(t, err, ErrNoSpace)
					return
				}
				m[at] = b
			},
			"delete": func(t *rapid.T) {
				if len(m) == 0 {
					t.Skip()
				}
				at := rapid.IntRange(0, len(m)-1).Draw(t, "at")
				require.NoError(t, p.Delete(uint16(at+1)))
				m = append(m[:at], m[at+1:]...)
			},
			"deletes": func(t *rapid.T) {
				var offnums []byte
				var left model
				for i := range m {
					if rapid.Bool().Draw(t, "delete") {
						offnums = binary.LittleEndian.AppendUint16(offnums, uint16(i+1))
					} else {
						left = append(left, m[i])
					}
				}
				require.NoError(t, p.MultiDelete(offnums))
				m = left
			},
			"": func(t *rapid.T) { m.check(t, &p) },
		})
	})
}

// TestHeapOperations does the same for pages whose numbers never change.
func TestHeapOperations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p Page
		p.Init(0)
		var m model
		item := rapid.SliceOfN(rapid.Byte(), 1, 700)
		t.Repeat(map[string]func(*rapid.T){
			"place": func(t *rapid.T) {
				at := len(m)
				for i := range m {
					if m[i] == nil {
						at = i
					}
				}
				b := item.Draw(t, "item")
				place, err := p.Place(uint16(at+1), len(b))
				if err != nil {
					require.ErrorIs(t, err, ErrNoSpace)
					return
				}
				copy(place, b)
				if at == len(m) {
					m = append(m, nil)
				}
				m[at] = b
			},
			"remove": func(t *rapid.T) {
				if len(m) == 0 {
					t.Skip()
				}
				at := rapid.IntRange(0, len(m)-1).Draw(t, "at")
				if m[at] == nil {
					require.NoError(t, p.SetPointer(uint16(at+1), 0))
					return
				}
				require.NoError(t, p.DeleteNoCompact(uint16(at+1)))
				if m[at] = nil; at == len(m)-1 {
					m = m[:at]
				}
			},
			"repair": func(t *rapid.T) {
				for i := range m {
					if rapid.Bool().Draw(t, "drop") {
						m[i] = nil
						require.NoError(t, p.SetPointer(uint16(i+1), 0))
					}
				}
				require.NoError(t, p.Repair(true))
				for len(m) > 0 && m[len(m)-1] == nil {
					m = m[:len(m)-1]
				}
			},
			"": func(t *rapid.T) { m.check(t, &p) },
		})
	})
}

// TestRepackingOrder: repacked tuples lie in the order of their pointers, from
// the special area down, whatever their order was.
func TestRepackingOrder(t *testing.T) {
	var p Page
	p.Init(16)
	for _, b := range []byte{4, 2, 5, 3, 1} {
		at := uint16(1)
		for int(at) <= p.MaxOffset() {
			if item, err := p.Item(at); err == nil && item[0] > b {
				break
			}
			at++
		}
		require.NoError(t, p.Insert(at, bytes.Repeat([]byte{b}, 8)))
	}
	require.NoError(t, p.MultiDelete(OffsetList{1, 0, 3, 0, 4, 0}))
	require.Equal(t, MakePointer(8168, Normal, 8), p.Pointer(1))
	require.Equal(t, MakePointer(8160, Normal, 8), p.Pointer(2))
	require.Equal(t, byte(2), p[8168])
	require.Equal(t, byte(5), p[8160])
}

func TestTruncatePointers(t *testing.T) {
	var p Page
	p.Init(0)
	for range 3 {
		require.NoError(t, p.Append([]byte{1}))
	}
	for i := range uint16(3) {
		require.NoError(t, p.SetPointer(i+1, 0))
	}
	q := p
	require.NoError(t, p.TruncatePointers())
	require.Equal(t, 1, p.MaxOffset(), "the first stays")
	require.Equal(t, uint16(FlagHasFreeLines), p.Flags())
	require.NoError(t, q.Repair(true))
	require.Zero(t, q.MaxOffset())
	require.Zero(t, q.Flags())
}

func TestRefusals(t *testing.T) {
	var p Page
	p.Init(0)
	require.ErrorIs(t, p.Insert(2, []byte{1}), ErrOffset)
	require.ErrorIs(t, p.Insert(1, nil), ErrItemSize)
	require.ErrorIs(t, p.Insert(1, make([]byte, Size)), ErrNoSpace)
	require.NoError(t, p.Insert(1, []byte{1}))
	_, err := p.Place(1, 1)
	require.ErrorIs(t, err, ErrUsed)
	require.ErrorIs(t, p.Delete(0), ErrOffset)
	require.ErrorIs(t, p.Delete(2), ErrOffset)
	require.ErrorIs(t, p.MultiDelete(OffsetList{1, 0, 2, 0, 3, 0}), ErrOffset)
	require.ErrorIs(t, p.SetPointer(2, 0), ErrOffset)
	_, err = p.Item(2)
	require.ErrorIs(t, err, ErrOffset)
	require.NoError(t, p.SetPointer(1, MakePointer(8190, Normal, 8)))
	_, err = p.Item(1)
	require.ErrorIs(t, err, ErrPointer)
	require.ErrorIs(t, p.Delete(1), ErrPointer)
	p.SetLower(8193)
	require.Error(t, p.Check())
	require.ErrorAs(t, p.Append([]byte{1}), new(*CorruptError))
}

// TestGarbage: no function panics on any bytes.
func TestGarbage(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	list := OffsetList{1, 0, 2, 0, 5, 0}
	for range 3000 {
		var p Page
		p.Init(16)
		n := rng.IntN(20)
		for range n {
			_ = p.Append(make([]byte, 1+rng.IntN(300))) // No space is fine.
		}
		for range 1 + rng.IntN(6) {
			p[rng.IntN(HeaderSize+4*n)] = byte(rng.Uint32())
		}
		off, b := uint16(rng.IntN(25)), make([]byte, rng.IntN(500))
		for _, f := range []func(q *Page){
			func(q *Page) { _ = q.Insert(off, b) },
			func(q *Page) { _, _ = q.Place(off, len(b)) },
			func(q *Page) { _ = q.Delete(off) },
			func(q *Page) { _ = q.DeleteNoCompact(off) },
			func(q *Page) { _ = q.Overwrite(off, b) },
			func(q *Page) { _ = q.MultiDelete(list) },
			func(q *Page) { _ = q.Repair(off%2 == 0) },
			func(q *Page) { _ = q.TruncatePointers() },
			func(q *Page) { _, _ = q.Item(off); q.SpecialArea(16); q.Contents(); q.Checksum(1) },
			func(q *Page) { MaskHeap(q, 0, true) },
			func(q *Page) { MaskBtree(q, 0, false) },
			func(q *Page) { MaskHash(q, 0, false) },
			func(q *Page) { MaskGin(q, 0, false) },
			func(q *Page) { MaskGist(q, 0, false) },
			func(q *Page) { MaskSPGist(q, 0, false) },
			func(q *Page) { MaskBRIN(q, 0, false) },
			func(q *Page) { MaskPlain(q, 0, false) },
			func(q *Page) { MaskVisibilityMap(q, 0, false) },
		} {
			q := p
			f(&q)
		}
	}
}

func TestVisibilityMap(t *testing.T) {
	var p Page
	p.Init(0)
	require.Equal(t, uint32(1), MapBlock(32672))
	p.SetMapBits(5, MapBits)
	p.SetMapBits(32671, MapAllVisible)
	require.Equal(t, byte(0x0C), p[25])
	require.Equal(t, byte(0x40), p[8191])
	require.True(t, p.ClearMapBits(5, MapAllFrozen))
	require.False(t, p.ClearMapBits(5, MapAllFrozen))
	require.Equal(t, uint8(MapAllVisible), p.MapBits(5))
	p.SetMapBits(4, MapBits)
	p.TruncateMap(5)
	require.Equal(t, uint8(MapBits), p.MapBits(4))
	require.Zero(t, p.MapBits(5))
	require.Zero(t, p[8191])
}

// plainChecksum is a second implementation, as the reference words it.
func plainChecksum(p Page, block uint32) uint16 {
	p[8], p[9] = 0, 0
	acc := checksumBase
	for i := range 2048 {
		v := uint32(p[4*i]) | uint32(p[4*i+1])<<8 | uint32(p[4*i+2])<<16 | uint32(p[4*i+3])<<24
		x := acc[i%32] ^ v
		acc[i%32] = x*16777619 ^ x>>17
	}
	result := uint32(0)
	for _, a := range acc {
		for range 2 {
			a = a*16777619 ^ a>>17
		}
		result ^= a
	}
	return uint16((result^block)%65535 + 1)
}

func TestChecksum(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		var p Page
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		block := rng.Uint32()
		require.Equal(t, plainChecksum(p, block), p.Checksum(block))
	}
}

func BenchmarkChecksum(b *testing.B) {
	var p Page
	p.Init(0)
	b.SetBytes(Size)
	for b.Loop() {
		p.Checksum(1)
	}
}
