package pagekey

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

func fill(p *page.Page, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range p {
		p[i] = byte(r.Uint32()) | 1
	}
}

func TestPageImagesComeBack(t *testing.T) {
	var empty, full, heap, slru page.Page
	fill(&full, 1)
	fill(&slru, 2)
	clear(slru[100:])
	heap.Init(16)
	_, err := heap.Place(1, 40)
	require.NoError(t, err)
	heap[page.Size-1] = 7

	for name, c := range map[string]struct {
		p     page.Page
		bytes int
	}{"empty": {empty, 4}, "full": {full, 4 + page.Size}, "slru": {slru, 4 + 100}, "heap": {heap, 4 + 28 + 40 + 16}} {
		value := AppendPage(nil, &c.p)
		require.Len(t, value, c.bytes, name)
		var back page.Page
		fill(&back, 9)
		require.NoError(t, ParsePage(value, &back), name)
		require.Equal(t, c.p, back, name)
	}
	require.Error(t, ParsePage([]byte{1, 2, 3}, &empty))
	require.Error(t, ParsePage(make([]byte, 4+page.Size+1), &empty))
	require.Error(t, ParsePage([]byte{0xff, 0xff, 0x00, 0x20}, &empty))
}

// An image may say which record made it: the bytes are those of docs/format/pages.md.
func TestImageSaysItsRecord(t *testing.T) {
	var p, back page.Page
	p[0] = 5
	r := walrecord.Record{Start: 0x0102030405060708, XID: 0x0A0B0C0D, Major: 17, RMID: walrecord.RmgrBtree, Info: 0x62, End: 99, MainData: []byte("x")}
	plain := AppendPage(nil, &p)
	value := AppendCause(slices.Clone(plain), &r)
	require.Equal(t, append(slices.Clone(plain), 8, 7, 6, 5, 4, 3, 2, 1, 0x0D, 0x0C, 0x0B, 0x0A, 17, 11, 0x62), value)
	require.NoError(t, ParsePage(value, &back))
	require.Equal(t, p, back)
	require.Error(t, ParsePage(value[:len(value)-1], &back))
	var got walrecord.Record
	require.True(t, ImageCause(value, &got))
	require.Equal(t, walrecord.Record{Start: r.Start, XID: r.XID, Major: 17, RMID: walrecord.RmgrBtree, Info: 0x62}, got)
	for _, other := range [][]byte{plain, value[:len(value)-1], nil, {0, 0, 0xff, 0xff, 1}} {
		require.False(t, ImageCause(other, &got))
	}

	// One that is made of a chain says which record was the last.
	key := Block(walrecord.RelFile{Tablespace: 1, Database: 2, Relation: 3}, walrecord.ForkMain, 0)
	v := pagestore.Value{Image: value, ImageLSN: 8}
	made, err := Materialize(t.Context(), key, 8, &v)
	require.NoError(t, err)
	require.Equal(t, value, made)
	v.Deltas = []pagestore.DeltaRecord{{LSN: 16, Record: AppendMapTruncate(nil, 5)}}
	made, err = Materialize(t.Context(), key, 16, &v)
	require.NoError(t, err)
	require.False(t, ImageCause(made, &got), "no record")
}

// A hole that is not zero is kept: old bytes of tuples stay on a primary's page.
func TestImageKeepsBytesInTheHole(t *testing.T) {
	var p, back page.Page
	p.Init(0)
	p[4000] = 1
	value := AppendPage(nil, &p)
	require.NoError(t, ParsePage(value, &back))
	require.Equal(t, p, back)
}

func TestSLRUChanges(t *testing.T) {
	var (
		p page.Page
		r Replayer
	)
	apply := func(delta []byte) { t.Helper(); require.NoError(t, r.Apply(&p, delta, 1)) }

	apply(AppendNumber(AppendNumber(BeginCLOG(nil, StatusCommitted), 1), 32767))
	apply(AppendNumber(BeginCLOG(nil, StatusAborted), 2))
	require.Equal(t, byte(1<<2|2<<4), p[0])
	require.Equal(t, byte(1<<6), p[8191])

	p = page.Page{}
	apply(AppendNumber(BeginCommitTS(nil, 0x0102030405060708, 0x0A0B), 818))
	require.Equal(t, []byte{8, 7, 6, 5, 4, 3, 2, 1, 0x0B, 0x0A}, p[8180:8190])

	p = page.Page{}
	apply(AppendOffset(nil, 2047, 0x01020304))
	require.Equal(t, []byte{4, 3, 2, 1}, p[8188:])

	p = page.Page{}
	apply(AppendMember(AppendMember(BeginMembers(nil, 3), 0x11, 4), 0x12, 5))
	require.Equal(t, byte(4), p[3])
	require.Equal(t, byte(0x11), p[16])
	require.Equal(t, byte(5), p[20])
	require.Equal(t, byte(0x12), p[24])

	for _, bad := range [][]byte{
		{},
		{99},
		{deltaCLOG},
		{deltaCLOG, 1, 0, 0x80},
		{deltaCommitTS, 0},
		AppendNumber(BeginCommitTS(nil, 1, 1), 819),
		AppendOffset(nil, 2048, 1), AppendMember(BeginMembers(nil, 1636), 1, 1),
		{deltaMapClear, 1},
		{deltaMapTruncate},
		{deltaFSMTruncate},
		{deltaRecord},
		{deltaRecord, 0, 18, 0, 1},
	} {
		require.Error(t, r.Apply(&p, bad, 1), "%x", bad)
	}
}

func TestMapAndFSMChanges(t *testing.T) {
	var (
		p page.Page
		r Replayer
	)
	p.Init(0)
	p.SetMapBits(10, page.MapBits)
	p.SetMapBits(11, page.MapBits)
	require.NoError(t, r.Apply(&p, AppendMapClear(nil, &redo.VisibilityClear{HeapBlock: 10, Bits: page.MapAllFrozen}), 1))
	require.Equal(t, uint8(page.MapAllVisible), p.MapBits(10))
	require.NoError(t, r.Apply(&p, AppendMapTruncate(nil, 11), 1))
	require.Equal(t, uint8(page.MapAllVisible), p.MapBits(10))
	require.Zero(t, p.MapBits(11))

	var f page.Page
	f.Init(0)
	nodes := f[fsmNodes:]
	nodes[fsmNonLeaf+5], nodes[fsmNonLeaf+9] = 20, 200
	require.NoError(t, r.Apply(&f, AppendFSMTruncate(nil, FSMSlots), 1))
	require.NoError(t, r.Apply(&f, AppendFSMTruncate(nil, 9), 1))
	require.Equal(t, byte(20), nodes[0], "the root is the most of what is left")
	require.Zero(t, nodes[fsmNonLeaf+9])
}

// What other blocks carry is not kept; what redo of this one needs is.
func TestRecordKeepsItsOwnBlock(t *testing.T) {
	in := walrecord.Record{
		Major: 15, Start: 0x100, End: 0x180, XID: 7, Info: 0x20, RMID: walrecord.RmgrHeap, MainData: make([]byte, 300),
		HasOrigin: true, Origin: 5,
		Blocks: []walrecord.Block{
			{ID: 0, Rel: rel, Block: 3, WillInit: true, HasData: true, Data: []byte("own")},
			{ID: 1, Rel: rel, SameRel: true, Block: 4, HasData: true, Data: []byte("other"), HasImage: true},
		},
	}
	var out walrecord.Record
	value := AppendRecord(nil, &in, 0, redo.Options{WALLogHints: true})
	index, o, ok, err := DecodeRecord(value, 0x180, &out)
	require.NoError(t, err)
	require.True(t, ok)
	require.Zero(t, index)
	require.Equal(t, redo.Options{WALLogHints: true}, o)
	require.Equal(t, 15, out.Major)
	require.Equal(t, in.Start, out.Start)
	require.Equal(t, in.End, out.End)
	require.Equal(t, uint32(7), out.XID)
	require.Equal(t, in.MainData, out.MainData)
	require.Equal(t, []byte("own"), out.Blocks[0].Data)
	require.True(t, out.Blocks[0].WillInit)
	require.Equal(t, rel, out.Blocks[1].Rel)
	require.Equal(t, uint32(4), out.Blocks[1].Block)
	require.Empty(t, out.Blocks[1].Data)
	require.False(t, out.Blocks[1].HasImage)
}

func TestCustomRecordIsNamed(t *testing.T) {
	in := walrecord.Record{
		Major: 17, Start: 0x2000028, RMID: 130,
		Blocks: []walrecord.Block{{Rel: rel}},
	}
	v := pagestore.Value{Deltas: []pagestore.DeltaRecord{{LSN: 0x2000060, Record: AppendRecord(nil, &in, 0, redo.Options{})}}}
	var (
		r Replayer
		p page.Page
	)
	err := r.Page(Block(rel, 0, 0), &v, &p)
	require.ErrorContains(t, err, "record at 0/2000028 belongs to the custom resource manager 130")
	_, err = Materialize(t.Context(), Block(rel, 0, 0), 0x2000060, &v)
	require.ErrorIs(t, err, pagestore.ErrNoImage)
}

func FuzzApply(f *testing.F) {
	f.Add(AppendNumber(BeginCLOG(nil, StatusCommitted), 1))
	f.Add(AppendNumber(BeginCommitTS(nil, 1, 2), 1))
	f.Add(AppendOffset(nil, 1, 2))
	f.Add(AppendMember(BeginMembers(nil, 3), 1, 2))
	f.Add(AppendMapTruncate(nil, 5))
	f.Add(AppendFSMTruncate(nil, 5))
	f.Add(AppendRecord(nil, &walrecord.Record{RMID: walrecord.RmgrHeap, Blocks: []walrecord.Block{{Rel: rel, Data: []byte("x")}}}, 0, redo.Options{}))
	f.Add([]byte{0x30, 0x30, 0x0f, 0x20}) // An image with a hole longer than a page.
	f.Add(appendImageHeader(nil, 24, page.Size+causeSize))
	f.Fuzz(func(_ *testing.T, delta []byte) {
		var (
			r Replayer
			p page.Page
		)
		p.Init(0)
		_ = r.Apply(&p, delta, 0x1000) // Errors are fine, panics are not.
		_ = ParsePage(delta, &p)
	})
}

func TestReplayerDoesNotAllocate(t *testing.T) {
	var (
		r Replayer
		p page.Page
	)
	delta := AppendNumber(BeginCLOG(nil, StatusCommitted), 1)
	v := pagestore.Value{Image: AppendPage(nil, &p), ImageLSN: 8, Deltas: []pagestore.DeltaRecord{{LSN: 16, Record: delta}}}
	key := SLRUPage(CLOG, 0)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if err := r.Page(key, &v, &p); err != nil {
			t.Error(err)
		}
	}))
	require.Equal(t, wal.LSN(16), v.LSN())
}
