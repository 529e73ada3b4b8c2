package walrecord

import (
	"fmt"
	"testing"

	"github.com/walhaven/walhaven/wal"
)

// BenchmarkScan measures bytes of WAL a second; pg_waldump --stats of the same
// kind of WAL is what to compare with.
func BenchmarkScan(b *testing.B) {
	f := loadFixture(b, "pg15")
	for _, piece := range []int{8 << 10, 128 << 10, 1 << 20} {
		b.Run(fmt.Sprint(piece), func(b *testing.B) {
			s := NewScanner(fixtureOptions(f, f.start))
			b.SetBytes(2 << 20) // the third segment is a hole
			b.ReportAllocs()
			for b.Loop() {
				s.Reset(f.start)
				for off := 0; off < 2<<20; off += piece {
					if err := s.Feed(s.Position(), f.bytes[off:off+piece]); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(len(f.recs))*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
		})
	}
}

// BenchmarkReadDecode adds handing out, decoding and counting every record.
func BenchmarkReadDecode(b *testing.B) {
	f := loadFixture(b, "pg15")
	rec := Record{Major: 15}
	var stats Stats
	r := NewReader(fixtureOptions(f, f.start), nil)
	r.sink.onRecord = func(start, end wal.LSN, data []byte) error {
		if err := Decode(data, start, end, &rec); err != nil {
			return err
		}
		stats.Add(&rec)
		return nil
	}
	b.SetBytes(2 << 20)
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(f.start)
		if err := r.Feed(f.start, f.bytes[:2<<20]); err != nil {
			b.Fatal(err)
		}
	}
}
