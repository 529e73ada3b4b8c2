package redo

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// sample is one block of one record of a real server: the page before it, and in
// the record the page after it. testdata/pgNN.samples.zst holds some of each
// shape of each kind; testdata/README.md says how they are made.
type sample struct {
	major      int
	start, end wal.LSN
	index      int // of the block in the record
	record     []byte
	before     page.Page
}

var sampleMajors = []int{14, 15, 16, 17, 18}

func (s *sample) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.start))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.end))
	dst = append(dst, byte(s.major), byte(s.index))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s.record)))
	dst = append(dst, s.record...)
	return append(dst, s.before[:]...)
}

func loadSamples(t testing.TB, major int) []sample {
	t.Helper()
	packed, err := os.ReadFile(fmt.Sprintf("testdata/pg%d.samples.zst", major))
	require.NoError(t, err)
	d, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer d.Close()
	b, err := d.DecodeAll(packed, nil)
	require.NoError(t, err)
	var all []sample
	r := walrecord.NewCursor(b)
	for len(r.Rest) > 0 {
		s := sample{start: wal.LSN(r.U64()), end: wal.LSN(r.U64()), major: int(r.U8()), index: int(r.U8())}
		s.record = r.Bytes(int(r.U32()))
		copy(s.before[:], r.Bytes(page.Size))
		require.False(t, r.Bad)
		all = append(all, s)
	}
	require.NotEmpty(t, all)
	return all
}

func (s *sample) decode(t testing.TB) *walrecord.Record {
	t.Helper()
	r := &walrecord.Record{Major: s.major}
	require.NoError(t, walrecord.Decode(s.record, s.start, s.end, r))
	return r
}

// sampler chooses samples while an oracle runs.
type sampler struct {
	taken map[string]int // by form and by kind and block id
	out   []byte
}

// Bounds of what is taken: of one form, of one block of one kind, and of blocks
// in one record.
const (
	samplesPerForm  = 2
	samplesPerBlock = 5
	sampledBlocks   = 6
)

// shape tells the forms of one kind of record apart, roughly.
func shape(r *walrecord.Record, index int) (block, form string) {
	b := &r.Blocks[index]
	block = fmt.Sprintf("%s %d", kindOf(r), b.ID)
	form = fmt.Sprintf("%s of %d init %v data %v", block, len(r.Blocks), b.WillInit, b.HasData)
	main, op := r.MainData, r.Info&0x70
	switch {
	case r.RMID == walrecord.RmgrHeap && len(main) > 7:
		form += fmt.Sprintf(" flags %x", main[7])
	case r.RMID == walrecord.RmgrHeap2 && r.Major >= 17 && op <= opFreeze, r.RMID == walrecord.RmgrHeap2 && op == opVisible:
		form += fmt.Sprintf(" flags %x", main[len(main)-1])
	case r.RMID == walrecord.RmgrHeap2 && op == opMultiInsert, r.RMID == walrecord.RmgrGin && op == 0x20:
		form += fmt.Sprintf(" flags %x", main[0])
	case r.RMID == walrecord.RmgrBtree && (r.Op() == 0x30 || r.Op() == 0x40):
		form += fmt.Sprintf(" posting %v", main[8] != 0)
	case r.RMID == walrecord.RmgrSPGist && len(main) > 3:
		form += fmt.Sprintf(" flags %x", main[2:4])
	}
	return block, form
}

// take takes the block unless there are enough of its form, or its page is one
// of those of which the oracle knows that they differ.
func (k *sampler) take(r *walrecord.Record, raw []byte, index int, before, p *page.Page) {
	b := &r.Blocks[index]
	if !b.HasImage || b.Image.Apply || len(raw) > 60_000 || index >= sampledBlocks {
		return
	}
	block, form := shape(r, index)
	if k.taken[form] >= samplesPerForm || k.taken[block] >= samplesPerBlock {
		return
	}
	judge := newOracle(Options{WALLogHints: true})
	if judge.compare(r, b, p, &kindCount{}); judge.failed > 0 {
		return
	}
	k.taken[form]++
	k.taken[block]++
	s := sample{major: r.Major, start: r.Start, end: r.End, index: index, record: raw, before: *before}
	if b.WillInit {
		s.before = page.Page{}
	} else if before.Check() == nil && b.Fork != walrecord.ForkVM && r.RMID != walrecord.RmgrBRIN {
		clear(s.before[before.Lower():before.Upper()])
	}
	k.out = s.append(k.out)
}

// TestWriteSamples rewrites the samples from the folder that WALHAVEN_ORACLE_WAL
// names, when WALHAVEN_WRITE_SAMPLES is set.
func TestWriteSamples(t *testing.T) {
	dir := os.Getenv("WALHAVEN_ORACLE_WAL")
	if dir == "" || os.Getenv("WALHAVEN_WRITE_SAMPLES") == "" {
		t.Skip("WALHAVEN_WRITE_SAMPLES is not set")
	}
	chosen := sampler{taken: map[string]int{}}
	k := newOracle(Options{WALLogHints: true})
	k.blind = true // It was asked before.
	k.apply = func(p *page.Page, r *walrecord.Record, index int, o Options) error {
		before := *p
		err := Apply(p, r, index, o)
		if err == nil {
			chosen.take(r, k.raw, index, &before, p)
		}
		return err
	}
	major := 0
	readFolder(t, dir, 0, func(r *walrecord.Record, raw []byte) {
		major = r.Major
		k.raw = raw
		k.record(r)
	})
	require.Empty(t, k.failures)
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	require.NoError(t, err)
	packed := w.EncodeAll(chosen.out, nil)
	require.NoError(t, w.Close())
	t.Logf("%d bytes, packed %d", len(chosen.out), len(packed))
	name := filepath.Join("testdata", "pg"+strconv.Itoa(major)+".samples.zst")
	require.NoError(t, os.WriteFile(name, packed, 0o644))
}

// TestSamples is the oracle over the samples.
func TestSamples(t *testing.T) {
	for _, major := range sampleMajors {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			k := runSamples(t, major, Apply)
			for _, f := range k.failures {
				t.Error(f)
			}
		})
	}
}

// 17 writes heap records as 18 does; from 17.11 on, as from 18.6 on, they reference
// the map's page. There is no sample of 17.11: those of 18.6 are applied as of 17.
func TestReferencedMapsOf17(t *testing.T) {
	referencing := map[string]int{}
	k := runSamples(t, 18, func(p *page.Page, r *walrecord.Record, index int, o Options) error {
		heap := r.RMID == walrecord.RmgrHeap || r.RMID == walrecord.RmgrHeap2 && r.Info&0x70 != opVisible
		if heap && slices.ContainsFunc(r.Blocks, func(b walrecord.Block) bool { return b.Fork == walrecord.ForkVM }) {
			referencing[kindOf(r)]++
			r.Major = 17
			defer func() { r.Major = 18 }()
		}
		return Apply(p, r, index, o)
	})
	require.Empty(t, k.failures)
	for _, kind := range []string{"Heap/INSERT", "Heap/DELETE", "Heap/UPDATE", "Heap/HOT_UPDATE", "Heap/LOCK", "Heap2/MULTI_INSERT"} {
		require.NotZero(t, referencing[kind], kind)
	}
}

// runSamples judges every sample with an oracle.
func runSamples(t testing.TB, major int, apply applyFunc) *oracle {
	t.Helper()
	k := newOracle(Options{WALLogHints: true})
	for _, s := range loadSamples(t, major) {
		r := s.decode(t)
		kind := k.kind(r)
		p := s.before
		if err := apply(&p, r, s.index, k.opt); err != nil {
			k.fail(kind, r, &r.Blocks[s.index], err.Error())
			continue
		}
		kind.applied++
		kind.compared++
		k.compare(r, &r.Blocks[s.index], &p, kind)
	}
	return k
}
