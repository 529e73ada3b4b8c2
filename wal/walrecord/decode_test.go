package walrecord

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// rawRecord is a record with the given bytes after its header.
func rawRecord(rmid RmgrID, info uint8, payload ...byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(RecordHeaderSize+len(payload)))
	b = binary.LittleEndian.AppendUint32(b, 742)
	b = binary.LittleEndian.AppendUint64(b, 0x1000100)
	b = append(b, info, byte(rmid), 0, 0, 0xEF, 0xBE, 0xAD, 0xDE)
	return append(b, payload...)
}

func cat(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

var (
	relBytes   = []byte{0x7F, 6, 0, 0, 5, 0, 0, 0, 0, 0x40, 0, 0} // 1663/5/16384
	blockBytes = []byte{9, 0, 0, 0}
)

func TestDecodeEverything(t *testing.T) {
	image := make([]byte, 100)
	for i := range image {
		image[i] = byte(i)
	}
	payload := cat(
		[]byte{253, 7, 0},                                   // origin
		[]byte{252, 0xE6, 2, 0, 0},                          // top-level xid
		[]byte{0, blockImage | blockData | blockInit, 3, 0}, // block 0, with
		[]byte{100, 0, 50, 0, imageHole | imageApply},       // an image of 100 bytes
		relBytes, blockBytes,
		[]byte{2, 2 | blockData | blockSameRel, 1, 0}, []byte{1, 0, 0, 0}, // block 2, VM fork
		[]byte{255, 4},
		image, []byte("abc"), []byte("v"), []byte("main"),
	)
	var r Record
	r.Major = 15
	require.NoError(t, Decode(rawRecord(RmgrHeap, 0x81, payload...), 0x1000200, 0x1000300, &r))
	require.Equal(t, Record{
		Major: 15, Start: 0x1000200, End: 0x1000300, Length: uint32(RecordHeaderSize + len(payload)),
		XID: 742, Prev: 0x1000100, Info: 0x81, RMID: RmgrHeap, CRC: 0xDEADBEEF,
		HasOrigin: true, Origin: 7, HasTopXID: true, TopXID: 742, MainData: []byte("main"),
		Blocks: []Block{
			{
				ID: 0, Rel: RelFile{1663, 5, 16384}, Block: 9, WillInit: true, HasImage: true, HasData: true, Data: []byte("abc"),
				Image: Image{Data: image, HoleOffset: 50, HoleLength: wal.BlockSize - 100, Info: 3, Apply: true}, dataLen: 3, imageLen: 100,
			},
			{ID: 2, Rel: RelFile{1663, 5, 16384}, Fork: ForkVM, Block: 1, SameRel: true, HasData: true, Data: []byte("v"), dataLen: 1},
		},
	}, r)
	require.Equal(t, "rmgr: Heap        len (rec/tot):     75/   175, tx:        742, lsn: 0/01000200, prev 0/01000100, "+
		"desc: INSERT+INIT, blkref #0: rel 1663/5/16384 blk 9 FPW, blkref #2: rel 1663/5/16384 fork vm blk 1", Describe(&r))

	// The next record does not inherit anything.
	require.NoError(t, Decode(rawRecord(RmgrXLOG, 0x40), 8, 32, &r))
	require.Equal(t, Record{
		Major: 15, Start: 8, End: 32, Length: 24, XID: 742, Prev: 0x1000100, Info: 0x40,
		CRC: 0xDEADBEEF, Blocks: []Block{}, MainData: []byte{},
	}, r)
}

// TestDecodeImages covers the cases of an image header, by version.
func TestDecodeImages(t *testing.T) {
	type want struct {
		hole        uint16
		apply       bool
		compression Compression
	}
	for name, c := range map[string]struct {
		major  int
		header []byte
		length int
		want   *want // nil: refused
	}{
		"full":                   {15, []byte{0, 32, 0, 0, 0x02}, 8192, &want{0, true, CompressionNone}},
		"full 14":                {14, []byte{0, 32, 0, 0, 0x04}, 8192, &want{0, true, CompressionNone}},
		"verification only":      {15, []byte{0, 32, 0, 0, 0x00}, 8192, &want{0, false, CompressionNone}},
		"hole":                   {15, []byte{10, 0, 5, 0, 0x03}, 10, &want{8182, true, CompressionNone}},
		"pglz, hole":             {15, []byte{10, 0, 5, 0, 0x07, 100, 0}, 10, &want{100, true, CompressionPGLZ}},
		"pglz, no hole":          {15, []byte{10, 0, 0, 0, 0x06}, 10, &want{0, true, CompressionPGLZ}},
		"pglz 14":                {14, []byte{10, 0, 5, 0, 0x07, 100, 0}, 10, &want{100, true, CompressionPGLZ}},
		"pglz 14, no hole":       {14, []byte{10, 0, 0, 0, 0x02}, 10, &want{0, false, CompressionPGLZ}},
		"lz4":                    {16, []byte{10, 0, 5, 0, 0x0B, 100, 0}, 10, &want{100, true, CompressionLZ4}},
		"zstd":                   {18, []byte{10, 0, 0, 0, 0x12}, 10, &want{0, true, CompressionZstd}},
		"two methods":            {18, []byte{10, 0, 0, 0, 0x1A}, 10, &want{0, true, CompressionUnknown}},
		"full with hole":         {15, []byte{0, 32, 5, 0, 0x03}, 8192, nil},
		"hole at nothing":        {15, []byte{10, 0, 0, 0, 0x03}, 10, nil},
		"offset without hole":    {15, []byte{0, 32, 5, 0, 0x02}, 8192, nil},
		"short without hole":     {15, []byte{10, 0, 0, 0, 0x02}, 10, nil},
		"longer than a page":     {15, []byte{1, 32, 0, 0, 0x02}, 8193, nil},
		"compressed to a page":   {15, []byte{0, 32, 0, 0, 0x06}, 8192, nil},
		"compressed, empty hole": {15, []byte{10, 0, 5, 0, 0x07, 0, 0}, 10, nil},
		"hole beyond the page":   {15, []byte{10, 0, 20, 0, 0x03}, 10, nil},
		"hole far beyond":        {15, []byte{10, 0, 0xFF, 0xFF, 0x07, 0xFF, 0xFF}, 10, nil},
	} {
		payload := cat([]byte{0, blockImage, 0, 0}, c.header, relBytes, blockBytes, make([]byte, c.length))
		r := Record{Major: c.major}
		err := Decode(rawRecord(RmgrXLOG, 0xB0, payload...), 8, 9000, &r)
		if c.want == nil {
			require.True(t, IsCorruption(err), name)
			continue
		}
		require.NoError(t, err, name)
		img := r.Blocks[0].Image
		require.Equal(t, *c.want, want{img.HoleLength, img.Apply, img.Compression}, name)
		require.Len(t, img.Data, c.length, name)
	}
}

func TestDecodeRefuses(t *testing.T) {
	block := cat([]byte{0, blockData, 1, 0}, relBytes, blockBytes)
	for name, payload := range map[string][]byte{
		"unknown sub-header":         {33, 0, 0},
		"unknown sub-header 251":     {251},
		"announced too little":       {255, 1, 'a', 'b'},
		"announced too much":         {255, 9, 'a'},
		"announced 4 GiB":            {254, 255, 255, 255, 255, 'a'},
		"length cut":                 {254, 1, 0},
		"nothing after":              {255},
		"origin cut":                 {253, 0},
		"xid cut":                    {252, 0, 0},
		"block cut":                  {0, 0},
		"relation cut":               {0, 0, 0, 0, 1, 2, 3},
		"block data without flag":    cat([]byte{0, 0, 1, 0}, relBytes, blockBytes, []byte{1}),
		"flag without block data":    cat([]byte{0, blockData, 0, 0}, relBytes, blockBytes),
		"same relation as none":      cat([]byte{0, blockSameRel, 0, 0}, blockBytes),
		"fork 4":                     cat([]byte{0, 4, 0, 0}, relBytes, blockBytes),
		"block number again":         cat(block, block, []byte{1, 1}),
		"block number falls":         cat([]byte{1, blockData, 1, 0}, relBytes, blockBytes, block, []byte{1, 1}),
		"image header cut":           {0, blockImage, 0, 0, 1, 2},
		"main data not last":         cat([]byte{255, 0}, block, []byte{1}),
		"hole length of image cut":   {0, blockImage, 0, 0, 10, 0, 5, 0, 0x07},
		"block data beyond the rest": cat([]byte{0, blockData, 2, 0}, relBytes, blockBytes, []byte{1}),
	} {
		err := Decode(rawRecord(RmgrHeap, 0, payload...), 8, 900, &Record{})
		require.True(t, IsCorruption(err), "%s: %v", name, err)
	}
	whole := rawRecord(RmgrHeap, 0, 255, 1, 'x')
	require.NoError(t, Decode(whole, 8, 900, &Record{}))
	for n := range whole {
		require.True(t, IsCorruption(Decode(whole[:n], 8, 900, &Record{})))
	}
	require.True(t, IsCorruption(Decode(append(whole, 0), 8, 900, &Record{})))
}

// TestDecodeAccountsForEveryByte: sub-headers and areas of real records fill
// them exactly, and images fit their pages.
func TestDecodeAccountsForEveryByte(t *testing.T) {
	for _, major := range fixtureMajors {
		images, compressed := 0, 0
		loadFixture(t, fmt.Sprintf("pg%d", major)).eachRecord(t, major, func(r *Record) {
			n := len(r.MainData)
			for _, b := range r.Blocks {
				n += len(b.Data) + len(b.Image.Data)
				require.Equal(t, b.HasData, len(b.Data) > 0)
				require.Equal(t, b.HasImage, len(b.Image.Data) > 0)
				if !b.HasImage {
					continue
				}
				images++
				if b.Image.Compression != CompressionNone {
					compressed++
				} else {
					require.Equal(t, wal.BlockSize, len(b.Image.Data)+int(b.Image.HoleLength))
				}
				require.True(t, b.Image.Apply)
				require.NotEqual(t, CompressionUnknown, b.Image.Compression)
			}
			require.LessOrEqual(t, n+RecordHeaderSize, int(r.Length))
			require.LessOrEqual(t, int(r.Length), n+RecordHeaderSize+MaxBlockID*27+13)
		})
		require.Greater(t, images, 20, "version %d", major)
		require.Greater(t, compressed, 10, "version %d", major)
	}
}

// TestDecodeMutilated: no change of a real record makes anything panic.
func TestDecodeMutilated(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	f := loadFixture(t, "pg14")
	var rec Record
	r := NewReader(fixtureOptions(f, f.start), func(start, end wal.LSN, b []byte) error {
		if len(b) > 2000 || len(b) == RecordHeaderSize {
			return nil
		}
		b = append([]byte(nil), b...)
		for range 3 {
			b[RecordHeaderSize+rng.IntN(min(60, len(b)-RecordHeaderSize))] = byte(rng.Uint32())
			rec.Major = 14 + rng.IntN(5)
			if Decode(b, start, end, &rec) == nil {
				_ = Describe(&rec)
			}
			_ = Decode(b[:rng.IntN(len(b)+1)], start, end, &rec)
		}
		return nil
	})
	_ = r.Feed(f.start, f.bytes[:2<<20])
}
