package redo

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// handMade is a record as Decode would return it, of blocks numbered 100 plus
// their id.
func handMade(rmid walrecord.RmgrID, op uint8, main []byte, blocks ...walrecord.Block) *walrecord.Record {
	for i := range blocks {
		blocks[i].Block = 100 + uint32(blocks[i].ID)
		blocks[i].HasData = len(blocks[i].Data) > 0
	}
	return &walrecord.Record{RMID: rmid, Info: op, Start: 0x2000, End: 0x2100, MainData: main, Blocks: blocks}
}

// applied is the page after block i of r.
func applied(t testing.TB, r *walrecord.Record, i int, before page.Page) *page.Page {
	t.Helper()
	require.NoError(t, Apply(&before, r, i, Options{}))
	return &before
}

func le16(v ...uint16) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint16(b, x)
	}
	return b
}

func le32(v ...uint32) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

// hashMetaFor is the metapage of a new index for so many tuples, 10 a bucket.
func hashMetaFor(t testing.TB, tuples float64) *page.Page {
	t.Helper()
	main := binary.LittleEndian.AppendUint64(nil, math.Float64bits(tuples))
	main = append(main, le32(4711)...)
	main = append(main, le16(10)...)
	p := applied(t, handMade(walrecord.RmgrHash, hashInitMetaPage, main, walrecord.Block{WillInit: true}), 0, page.Page{})
	p.SetLSN(0x1000)
	return p
}

func u32At(p *page.Page, meta int) uint32 {
	return binary.LittleEndian.Uint32(p[page.HeaderSize+meta:])
}

func TestHashFirstBuckets(t *testing.T) {
	for _, c := range []struct {
		tuples                    float64
		buckets, phase, high, low uint32
	}{
		{0, 2, 1, 3, 1},
		{20, 2, 1, 3, 1},
		{21, 2, 1, 3, 1},
		{39, 4, 2, 7, 3},
		{40, 4, 2, 7, 3},
		{5120, 512, 9, 1023, 511},
		{5130, 640, 10, 1023, 511}, // The first phase of four in its group.
		{6410, 768, 11, 1023, 511},
		{10240, 1024, 13, 2047, 1023},
		{1e18, 1 << 30, 93, 1<<31 - 1, 1<<30 - 1},
		{math.Inf(1), 1 << 30, 93, 1<<31 - 1, 1<<30 - 1},
		{math.NaN(), 2, 1, 3, 1},
	} {
		p := hashMetaFor(t, c.tuples)
		require.Equal(t, c.buckets-1, u32At(p, offHashMaxBucket), "%v tuples", c.tuples)
		require.Equal(t, c.phase, u32At(p, offHashPhase), "%v tuples", c.tuples)
		require.Equal(t, c.high, u32At(p, offHashHighMask), "%v tuples", c.tuples)
		require.Equal(t, c.low, u32At(p, offHashLowMask), "%v tuples", c.tuples)
		require.Equal(t, uint32(1), u32At(p, offHashSpares+4*int(c.phase)))
		require.Equal(t, uint32(4711), u32At(p, offHashProc))
	}
}

// The phases are those of PostgreSQL if each ends where the next begins and
// groups end at powers of two.
func TestHashPhases(t *testing.T) {
	last := uint32(0)
	for phase := range uint32(94) {
		n := hashBucketsOf(phase)
		require.Greater(t, n, last)
		if n > 1 {
			require.Equal(t, phase, hashPhase(n))
			require.Equal(t, phase, hashPhase(last+1))
		}
		last = n
	}
	require.Equal(t, uint32(1<<30), last)
	require.Equal(t, uint32(2048), hashBucketsOf(17))
}

// A further bitmap page comes with the 32769th overflow page: too many to
// provoke.
func TestHashAddOverflowPageWithBitmap(t *testing.T) {
	meta := hashMetaFor(t, 0)
	block := func(id uint8, init bool, data []byte) walrecord.Block {
		return walrecord.Block{ID: id, WillInit: init, Data: data}
	}
	for _, c := range []struct {
		name         string
		found        byte
		bitmap       bool
		spares, map0 uint32
	}{
		{"free page found", 1, false, 1, 0},
		{"index grows", 0, false, 2, 0},
		{"index grows by a bitmap too", 0, true, 3, 103},
	} {
		t.Run(c.name, func(t *testing.T) {
			blocks := []walrecord.Block{block(0, true, le32(5)), block(1, false, nil)}
			if c.bitmap {
				blocks = append(blocks, block(3, true, nil))
			}
			blocks = append(blocks, block(4, false, le32(77)))
			r := handMade(walrecord.RmgrHash, hashAddOverflowPage, append(le16(hashMapSize), c.found), blocks...)
			last := len(blocks) - 1
			p := applied(t, r, last, *meta)
			require.Equal(t, uint32(77), u32At(p, offHashFirstFree))
			require.Equal(t, c.spares, u32At(p, offHashSpares+4))
			require.Equal(t, c.map0, u32At(p, offHashMap))
			if c.bitmap {
				require.Equal(t, uint32(1), u32At(p, offHashMaps))
				bitmap := applied(t, r, 2, page.Page{})
				require.Equal(t, page.HeaderSize+hashMapSize, bitmap.Lower())
				require.Equal(t, byte(0xFF), bitmap[bitmap.Lower()-1])
				require.Zero(t, bitmap[bitmap.Lower()])
			}
			fresh := applied(t, r, 0, page.Page{})
			special := fresh.SpecialArea(lenHashSpecial)
			require.Equal(t, append(le32(101, invalidBlock, 5), le16(hashOverflow, hashPageID)...), special)
		})
	}
}

func emptyHash(t testing.TB, flags uint16) page.Page {
	t.Helper()
	var p page.Page
	require.NoError(t, initHash(&p, hashSpecial{prev: 1, next: 2, bucket: 3, flags: flags}))
	p.SetLSN(0x1000)
	return p
}

// Pages that are named to be locked only stay as they are, pd_lsn included.
func TestHashLockOnly(t *testing.T) {
	before := emptyHash(t, 2)
	squeeze := func(n uint16, samePrimary, samePrev byte) []byte {
		return append(append(le32(8, 9), le16(n)...), samePrimary, samePrev)
	}
	for name, r := range map[string]*walrecord.Record{
		"move":                     handMade(walrecord.RmgrHash, hashMovePageContents, []byte{0, 0, 0}, walrecord.Block{}),
		"squeeze":                  handMade(walrecord.RmgrHash, hashSqueezePage, squeeze(0, 0, 0), walrecord.Block{}),
		"squeeze, nothing written": handMade(walrecord.RmgrHash, hashSqueezePage, squeeze(0, 1, 0), walrecord.Block{ID: 1}),
		"delete":                   handMade(walrecord.RmgrHash, hashDelete, []byte{0, 0}, walrecord.Block{}),
	} {
		require.Equal(t, before, *applied(t, r, 0, before), name)
	}
}

// The tail of a chain is freed, so that no server names the page after it.
func TestHashSqueezeNext(t *testing.T) {
	main := append(append(le32(8, 9), le16(0)...), 0, 0)
	before := emptyHash(t, hashOverflow)
	r := handMade(walrecord.RmgrHash, hashSqueezePage, main, walrecord.Block{ID: 3}, walrecord.Block{ID: 4})
	require.Equal(t, le32(1, 9), applied(t, r, 0, before).SpecialArea(lenHashSpecial)[:8])
	require.Equal(t, le32(8, 2), applied(t, r, 1, before).SpecialArea(lenHashSpecial)[:8])
}

// Flags of a split are set even on pages that came as images of before it.
func TestHashSplitAfterImage(t *testing.T) {
	before := emptyHash(t, 2)
	image := walrecord.Image{Apply: true, Data: before[:]}
	main := append(append(le32(7), le16(0x22, 0x12)...), 0)
	r := handMade(walrecord.RmgrHash, hashSplitAllocatePage, main, walrecord.Block{HasImage: true, Image: image})
	p := applied(t, r, 0, page.Page{})
	require.Equal(t, append(le32(7, 2, 3), le16(0x22)...), p.SpecialArea(lenHashSpecial)[:14])
	require.Equal(t, r.End, p.LSN())

	r = handMade(walrecord.RmgrHash, hashSplitComplete, le16(0x42, 0x02),
		walrecord.Block{HasImage: true, Image: image}, walrecord.Block{ID: 1, HasImage: true, Image: image})
	require.Equal(t, le16(0x42), applied(t, r, 0, page.Page{}).SpecialArea(lenHashSpecial)[12:14])
	require.Equal(t, le16(0x02), applied(t, r, 1, page.Page{}).SpecialArea(lenHashSpecial)[12:14])
}

// Bits beyond a bitmap page and counters beyond their arrays are refused.
func TestHashBounds(t *testing.T) {
	meta := hashMetaFor(t, 0)
	rapid.Check(t, func(t *rapid.T) {
		p := *meta
		at := rapid.SampledFrom([]int{offHashPhase, offHashMaps, offHashMaxBucket}).Draw(t, "field")
		binary.LittleEndian.PutUint32(p[page.HeaderSize+at:], rapid.Uint32().Draw(t, "value"))
		op := rapid.SampledFrom([]uint8{hashInitBitmapPage, hashAddOverflowPage, hashSplitAllocatePage}).Draw(t, "op")
		main := rapid.SliceOfN(rapid.Byte(), 3, 12).Draw(t, "main")
		data := rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "data")
		r := handMade(walrecord.RmgrHash, op, main, walrecord.Block{}, walrecord.Block{ID: 1},
			walrecord.Block{ID: 2, Data: data}, walrecord.Block{ID: 3}, walrecord.Block{ID: 4, Data: data})
		for i := range r.Blocks {
			q := p
			_ = Apply(&q, r, i, Options{}) // That it returns is the property.
		}
	})
}
