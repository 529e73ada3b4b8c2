package pageread

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// A page that was made before, at an LSN that it is known for, and with a
// client's word at one that it is not.
func BenchmarkCachedPage(b *testing.B) {
	w := newWorld(b, 11, 64<<20)
	for range 200 {
		w.put(b)
	}
	ctx := context.Background()
	key := worldKeys[0]
	at, err := w.reader.At(ctx, Latest, w.lsn)
	require.NoError(b, err)
	_, err = w.reader.page(ctx, key, at)
	require.NoError(b, err)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			at, err := w.reader.At(ctx, Latest, worldStart+8)
			if err != nil {
				b.Error(err)
			}
			if _, err := w.reader.page(ctx, key, at); err != nil {
				b.Error(err)
			}
		}
	})
}
