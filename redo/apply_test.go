package redo

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// insertRecord is Heap/INSERT+INIT of one tuple.
func insertRecord() *walrecord.Record {
	return &walrecord.Record{
		Major: 15, Start: 100, End: 200, XID: 7, RMID: walrecord.RmgrHeap, Info: opInsert | infoInit,
		MainData: []byte{1, 0, 0},
		Blocks:   []walrecord.Block{{WillInit: true, HasData: true, Data: []byte{1, 0, 0, 8, 24, 0, 42}}},
	}
}

func TestApplyTestsTheLSN(t *testing.T) {
	r := insertRecord()
	var p page.Page
	require.NoError(t, Apply(&p, r, 0, Options{}))
	require.Equal(t, wal.LSN(200), p.LSN())
	item, err := p.Item(1)
	require.NoError(t, err)
	require.Equal(t, byte(42), item[24])

	// The second tuple: once, and not again.
	r.Blocks[0].WillInit, r.Info, r.MainData, r.End = false, opInsert, []byte{2, 0, 0}, 300
	require.NoError(t, Apply(&p, r, 0, Options{}))
	after := p
	require.NoError(t, Apply(&p, r, 0, Options{}))
	require.Equal(t, after, p)
	require.Equal(t, 2, p.MaxOffset())

	// A page that the record builds is built again.
	require.NoError(t, Apply(&p, insertRecord(), 0, Options{}))
	require.Equal(t, 1, p.MaxOffset())
	require.Equal(t, wal.LSN(200), p.LSN())
}

func TestApplyErrors(t *testing.T) {
	r := insertRecord()
	r.Blocks[0].WillInit, r.Info = false, opInsert
	var p page.Page
	err := Apply(&p, r, 0, Options{})
	require.ErrorIs(t, err, ErrNewPage)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "redo of Heap/INSERT at 0/64 (end 0/C8) on block 0 of relation 0/0/0, fork main: the page is new", e.Error())

	p.Init(0)
	require.ErrorIs(t, Apply(&p, r, 1, Options{}), errNoBlock)
	r.MainData = r.MainData[:2]
	require.ErrorIs(t, Apply(&p, r, 0, Options{}), ErrTruncated)
	r.RMID = 200
	require.ErrorIs(t, Apply(&p, r, 0, Options{}), errNoRedo)
}

// An image of a new page leaves the page new, without an LSN.
func TestImages(t *testing.T) {
	var p, want page.Page
	want.Init(16)
	require.NoError(t, want.Append([]byte{1, 2, 3}))
	r := &walrecord.Record{RMID: walrecord.RmgrXLOG, Info: 0xB0, End: 500, Blocks: []walrecord.Block{{
		HasImage: true, Image: walrecord.Image{
			Apply: true, HoleOffset: uint16(want.Lower()), HoleLength: uint16(want.Upper() - want.Lower()),
			Data: append(append([]byte{}, want[:want.Lower()]...), want[want.Upper():]...),
		},
	}}}
	for i := range p {
		p[i] = 0xAA
	}
	require.NoError(t, Apply(&p, r, 0, Options{}))
	want.SetLSN(500)
	require.Equal(t, want, p)

	r.Blocks[0].Image = walrecord.Image{Apply: true, Data: make([]byte, page.Size)}
	require.NoError(t, Apply(&p, r, 0, Options{}))
	require.Equal(t, page.Page{}, p)

	// FPI_FOR_HINT without an image changes nothing.
	r.Info, r.Blocks[0] = 0xA0, walrecord.Block{}
	require.NoError(t, Apply(&p, r, 0, Options{}))
	require.Equal(t, page.Page{}, p)
}

// TestCompressedImages packs a page by each method that others have code for.
// The samples have images that servers packed.
func TestCompressedImages(t *testing.T) {
	var want page.Page
	want.Init(16)
	for i := range 20 {
		require.NoError(t, want.Append(bytes.Repeat([]byte{byte(i), 1}, 50)))
	}
	hole := want.Upper() - want.Lower()
	plain := append(append([]byte{}, want[:want.Lower()]...), want[want.Upper():]...)

	encoder, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	packed := make([]byte, page.Size)
	n, err := new(lz4.Compressor).CompressBlock(plain, packed)
	require.NoError(t, err)
	for method, data := range map[walrecord.Compression][]byte{
		walrecord.CompressionZstd: encoder.EncodeAll(plain, nil), walrecord.CompressionLZ4: packed[:n],
	} {
		img := walrecord.Image{
			HoleOffset: uint16(want.Lower()), HoleLength: uint16(hole), Data: data, Compression: method,
		}
		p := page.Page{8000: 1}
		require.NoError(t, RestoreImage(&p, &img), method)
		require.Equal(t, want, p, method)
		alloctest.None(t, 10, func() { _ = RestoreImage(&p, &img) }) // It succeeds.

		img.Data = data[:len(data)-1]
		require.Error(t, RestoreImage(&p, &img), method)
		img.Data, img.HoleLength = data, uint16(hole-1)
		require.Error(t, RestoreImage(&p, &img), method)
		img.HoleLength = page.Size
		require.Error(t, RestoreImage(&p, &img), method)
	}
	require.Error(t, RestoreImage(new(page.Page), &walrecord.Image{Data: plain}))
	require.Error(t, RestoreImage(new(page.Page), &walrecord.Image{Data: plain, Compression: walrecord.CompressionUnknown}))
	require.NoError(t, encoder.Close())
}

func TestPGLZ(t *testing.T) {
	dst := make([]byte, 22)
	// "abc", then 3 back for 18 bytes (15+3 with an extension byte of 0), then a literal.
	require.True(t, unpackPGLZ(dst, []byte{0x08, 'a', 'b', 'c', 0x0F, 3, 0, 'x'}))
	require.Equal(t, "abcabcabcabcabcabcabcx", string(dst))
	for _, bad := range [][]byte{
		{},
		{0x08, 'a', 'b', 'c', 0x0F, 3, 0},      // too short
		{0x08, 'a', 'b', 'c', 0x0F, 4, 0, 'x'}, // before the beginning
		{0x08, 'a', 'b', 'c', 0x0F, 0, 0, 'x'}, // nowhere
		{0x08, 'a', 'b', 'c', 0x0F, 3},
		{0x08, 'a', 'b', 'c', 0x0F},
		{0x08, 'a', 'b', 'c', 0x0F, 3, 0, 'x', 'y'}, // bytes left over
	} {
		require.False(t, unpackPGLZ(dst, bad), "%x", bad)
	}
}

// TestVisibilityClears: which map pages records change without naming them.
func TestVisibilityClears(t *testing.T) {
	heap := func(id uint8, block uint32) walrecord.Block { return walrecord.Block{ID: id, Block: block} }
	vm := func(id uint8, block uint32) walrecord.Block {
		return walrecord.Block{ID: id, Block: block, Fork: walrecord.ForkVM}
	}
	update := func(flags byte) []byte { return []byte{0, 0, 0, 0, 1, 0, 0, flags, 0, 0, 0, 0, 1, 0} }
	clears := func(id walrecord.RmgrID, info uint8, main []byte, blocks ...walrecord.Block) []VisibilityClear {
		return AppendVisibilityClears(nil, &walrecord.Record{RMID: id, Info: info, MainData: main, Blocks: blocks})
	}
	all, frozen := uint8(page.MapBits), uint8(page.MapAllFrozen)
	far := uint32(page.HeapPerMap)

	require.Empty(t, clears(walrecord.RmgrHeap, opInsert, []byte{1, 0, 0}, heap(0, 3)))
	require.Equal(t, []VisibilityClear{{HeapBlock: 3, Bits: all}}, clears(walrecord.RmgrHeap, opInsert, []byte{1, 0, 1}, heap(0, 3)))
	require.Empty(t, clears(walrecord.RmgrHeap, opInsert, []byte{1, 0, 1}, heap(0, 3), vm(1, 0)))
	require.Equal(t, []VisibilityClear{{HeapBlock: 3, Bits: frozen}}, clears(walrecord.RmgrHeap, opLock, update(1), heap(0, 3)))
	require.Equal(t, []VisibilityClear{{HeapBlock: 3, Bits: frozen}}, clears(walrecord.RmgrHeap2, opLockUpdated, update(1), heap(0, 3)))
	require.Equal(t, []VisibilityClear{{HeapBlock: 3, Bits: all}}, clears(walrecord.RmgrHeap2, opMultiInsert, []byte{1, 0, 0, 0}, heap(0, 3)))
	require.Equal(t, []VisibilityClear{{HeapBlock: 3, Bits: all}}, clears(walrecord.RmgrHeap, opHotUpdate, update(1), heap(0, 3)))
	require.Equal(t, []VisibilityClear{{HeapBlock: 3, Bits: all}, {MapBlock: 1, HeapBlock: far, Bits: all}},
		clears(walrecord.RmgrHeap, opUpdate, update(3), heap(0, 3), heap(1, far)))
	require.Equal(t, []VisibilityClear{{MapBlock: 1, HeapBlock: far, Bits: all}},
		clears(walrecord.RmgrHeap, opUpdate, update(3), heap(0, 3), heap(1, far), vm(2, 0)))
	require.Empty(t, clears(walrecord.RmgrHeap, opUpdate, update(3), heap(0, 3), heap(1, far), vm(2, 0), vm(3, 1)))
	require.Empty(t, clears(walrecord.RmgrHeap2, opVisible, []byte{0, 0, 0, 0, 1}, vm(0, 0), heap(1, 3)))
	require.Empty(t, clears(walrecord.RmgrHeap, opDelete, nil, heap(0, 3)))
}

// TestRebuilds: where the page before does not count, garbage does no harm.
func TestRebuilds(t *testing.T) {
	n := 0
	for _, s := range loadSamples(t, 15) {
		r := s.decode(t)
		if !Rebuilds(&r.Blocks[s.index]) {
			continue
		}
		var zero, garbage page.Page
		for i := range garbage {
			garbage[i] = 0xEE
		}
		require.NoError(t, Apply(&zero, r, s.index, Options{}))
		require.NoError(t, Apply(&garbage, r, s.index, Options{}))
		require.Equal(t, zero, garbage, kindOf(r))
		n++
	}
	require.Greater(t, n, 50)
}

// A record that references the map's page stamps it only when a bit was set.
func TestReferencedMap(t *testing.T) {
	for _, major := range []int{17, 18} {
		referencedMap(t, major)
	}
}

func referencedMap(t *testing.T, major int) {
	r := &walrecord.Record{
		Major: major, End: 900, RMID: walrecord.RmgrHeap, Info: opDelete, MainData: []byte{0, 0, 0, 0, 1, 0, 0, 1},
		Blocks: []walrecord.Block{{Block: 5}, {ID: 1, Fork: walrecord.ForkVM}},
	}
	var p page.Page
	require.NoError(t, Apply(&p, r, 1, Options{}))
	require.Equal(t, page.Page{}, p)
	p.Init(0)
	p.SetMapBits(4, page.MapBits)
	require.NoError(t, Apply(&p, r, 1, Options{}))
	require.Zero(t, p.LSN())
	p.SetMapBits(5, page.MapBits)
	require.NoError(t, Apply(&p, r, 1, Options{}))
	require.Equal(t, wal.LSN(900), p.LSN())
	require.Zero(t, p.MapBits(5))
	require.Equal(t, uint8(page.MapBits), p.MapBits(4))
}

// VISIBLE stamps the heap page only where hints are logged.
func TestVisibleStamps(t *testing.T) {
	r := &walrecord.Record{
		Major: 15, End: 900, RMID: walrecord.RmgrHeap2, Info: opVisible, MainData: []byte{0, 0, 0, 0, 3},
		Blocks: []walrecord.Block{{Fork: walrecord.ForkVM}, {ID: 1, Block: 9}},
	}
	for _, o := range []Options{{}, {WALLogHints: true}, {DataChecksums: true}} {
		var p, m page.Page
		p.Init(0)
		require.NoError(t, Apply(&p, r, 1, o))
		require.Equal(t, uint16(page.FlagAllVisible), p.Flags())
		require.Equal(t, o != Options{}, p.LSN() == 900)
		require.NoError(t, Apply(&m, r, 0, o))
		require.Equal(t, uint8(page.MapBits), m.MapBits(9))
		require.Equal(t, wal.LSN(900), m.LSN())
	}
}
