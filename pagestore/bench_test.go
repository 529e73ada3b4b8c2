package pagestore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/wal"
)

// halfFull is a page as PostgreSQL fills it: half of it compresses to nothing.
func halfFull(rng *rand.Rand) []byte {
	page := make([]byte, 8192)
	for i := range page[:4096] {
		page[i] = byte(rng.IntN(64))
	}
	return page
}

// BenchmarkIngest puts values of a size on random keys until they are durable.
func BenchmarkIngest(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
		kind Kind
	}{{"delta100", 100, Delta}, {"delta500", 500, Delta}, {"image8192", 8192, Image}} {
		b.Run(c.name, func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			require.NoError(b, err)
			defer s.Close()
			tl, err := s.Create(timelineID(0), 0)
			require.NoError(b, err)
			ctx, cancel := context.WithCancel(b.Context())
			var background errgroup.Group
			background.Go(func() error { return s.Run(ctx) })
			defer func() {
				cancel()
				require.NoError(b, background.Wait())
			}()
			rng := rand.New(rand.NewPCG(1, 2))
			pages := make([][]byte, 64)
			for i := range pages {
				pages[i] = halfFull(rng)
			}
			const batch = 64
			entries := make([]Entry, batch)
			b.SetBytes(int64(batch * c.size))
			b.ResetTimer()
			lsn := wal.LSN(0)
			for n := range b.N {
				for i := range entries {
					lsn++
					key := Key{0: 3}
					r := rng.Uint32()
					key[21], key[22], key[23] = byte(r>>16)&3, byte(r>>8), byte(r)
					entries[i] = Entry{Key: key, LSN: lsn, Kind: c.kind, Value: pages[(n+i)%64][:c.size]}
				}
				require.NoError(b, tl.Put(b.Context(), Batch{Entries: entries, LSN: lsn}))
			}
			require.NoError(b, tl.Flush(b.Context()))
			b.StopTimer()
			b.ReportMetric(float64(tl.Info().LayerBytes)/float64(int64(b.N)*batch*int64(c.size)), "layer-bytes/byte")
		})
	}
}

// BenchmarkGet reads an image and ten deltas above it, of 50,000 keys.
func BenchmarkGet(b *testing.B) {
	const keys = 50_000
	s, err := Open(b.TempDir(), Options{})
	require.NoError(b, err)
	defer s.Close()
	tl, err := s.Create(timelineID(0), 0)
	require.NoError(b, err)
	rng := rand.New(rand.NewPCG(1, 2))
	lsn := wal.LSN(0)
	key := func(i int) Key { return Key{0: 3, 21: byte(i >> 16), 22: byte(i >> 8), 23: byte(i)} }
	page := halfFull(rng)
	fill := func(kind Kind, value []byte) {
		for i := range keys {
			lsn++
			e := []Entry{{Key: key(i), LSN: lsn, Kind: kind, Value: value}}
			require.NoError(b, tl.Put(b.Context(), Batch{Entries: e, LSN: lsn}))
		}
	}
	fill(Image, page)
	for range 10 {
		fill(Delta, page[:100])
	}
	read := func(b *testing.B, spread int) {
		var v Value
		for range b.N {
			require.NoError(b, tl.Get(b.Context(), key(rng.IntN(spread)), lsn, &v))
			if len(v.Deltas) != 10 || len(v.Image) != 8192 {
				b.Fatal(len(v.Deltas))
			}
		}
	}
	b.Run("memory+runs", func(b *testing.B) { read(b, keys) })
	require.NoError(b, tl.Flush(b.Context()))
	b.Run(fmt.Sprintf("runs=%d/spread", tl.Info().Runs), func(b *testing.B) { read(b, keys) })
	b.Run(fmt.Sprintf("runs=%d/hot", tl.Info().Runs), func(b *testing.B) { read(b, 500) })
	require.NoError(b, tl.Compact(b.Context()))
	b.Run("compacted/spread", func(b *testing.B) { read(b, keys) })
	b.Run("compacted/hot", func(b *testing.B) { read(b, 500) })
}
