package redo

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// benchSample is a sample whose record and page are ready to be applied.
type benchSample struct {
	record walrecord.Record
	index  int
	before *page.Page
}

// benchSamples returns those of some resource managers, as samples hold them.
func benchSamples(t testing.TB, ids ...walrecord.RmgrID) []benchSample {
	t.Helper()
	var all []benchSample
	samples := loadSamples(t, 15)
	for i := range samples {
		s := &samples[i]
		r := s.decode(t)
		for _, id := range ids {
			if r.RMID == id && !r.Blocks[s.index].WillInit {
				all = append(all, benchSample{*r, s.index, &s.before})
			}
		}
	}
	require.NotEmpty(t, all)
	return all
}

// BenchmarkApply is redo in memory of one block a turn, all kinds of a resource
// manager in equal parts, and includes the copy of a page.
func BenchmarkApply(b *testing.B) {
	for name, ids := range map[string][]walrecord.RmgrID{
		"Heap": {walrecord.RmgrHeap}, "Heap2": {walrecord.RmgrHeap2}, "Btree": {walrecord.RmgrBtree}, "Gin": {walrecord.RmgrGin},
		"Hash": {walrecord.RmgrHash}, "Gist": {walrecord.RmgrGist}, "SPGist": {walrecord.RmgrSPGist}, "BRIN": {walrecord.RmgrBRIN},
	} {
		b.Run(name, func(b *testing.B) {
			benchmarkApply(b, benchSamples(b, ids...))
		})
	}
}

func benchmarkApply(b *testing.B, samples []benchSample) {
	b.ReportAllocs()
	p := new(page.Page)
	for i := 0; b.Loop(); i++ {
		s := &samples[i%len(samples)]
		*p = *s.before
		if err := Apply(p, &s.record, s.index, Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkKind is the same for single kinds that OLTP consists of.
func BenchmarkKind(b *testing.B) {
	for _, want := range []string{"Heap/HOT_UPDATE", "Heap/LOCK", "Heap2/PRUNE", "Btree/INSERT_LEAF", "Btree/INSERT_POST", "Btree/DEDUP", "Btree/SPLIT_R"} {
		b.Run(want, func(b *testing.B) {
			var samples []benchSample
			for _, s := range benchSamples(b, walrecord.RmgrHeap, walrecord.RmgrHeap2, walrecord.RmgrBtree) {
				if kindOf(&s.record) == want {
					samples = append(samples, s)
				}
			}
			benchmarkApply(b, samples)
		})
	}
}

// BenchmarkHeapInsert is the usual case: single-row inserts that fill a page.
func BenchmarkHeapInsert(b *testing.B) {
	r := insertRecord()
	r.Blocks[0].WillInit, r.Info = false, opInsert
	data := make([]byte, 60)
	copy(data, r.Blocks[0].Data)
	r.Blocks[0].Data = data
	p := new(page.Page)
	p.Init(0)
	b.ReportAllocs()
	for b.Loop() {
		if p.MaxOffset() == 80 {
			p.Init(0)
		}
		r.End++
		r.MainData[0] = byte(p.MaxOffset() + 1)
		if err := Apply(p, r, 0, Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// TestNoAllocation: redo of the usual kinds does not allocate.
func TestNoAllocation(t *testing.T) {
	p := new(page.Page)
	for _, s := range benchSamples(t, walrecord.RmgrHeap, walrecord.RmgrHeap2, walrecord.RmgrBtree, walrecord.RmgrHash,
		walrecord.RmgrGist, walrecord.RmgrBRIN, walrecord.RmgrSequence, walrecord.RmgrGeneric) {
		alloctest.None(t, 3, func() {
			*p = *s.before
			if err := Apply(p, &s.record, s.index, Options{}); err != nil {
				t.Fatalf("%s: %v", kindOf(&s.record), err)
			}
		})
		if t.Failed() {
			t.Fatalf("%s allocates", kindOf(&s.record))
		}
	}
}
