package walstore

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// benchStore is a store with 16 MiB segments whose WAL generator is endless.
func benchStore(tb testing.TB, fs vfs.FS) (*Store, *generator) {
	c := testControl()
	dir := testDir
	if fs == vfs.Default {
		dir = filepath.Join(tb.TempDir(), "tenant", "timeline")
	}
	s, err := Create(dir, c, Options{FS: fs})
	require.NoError(tb, err)
	require.NoError(tb, s.SynthesizePrefix())
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s, newGenerator()
}

func benchmarkAppend(b *testing.B, fs vfs.FS, size int, sync bool) {
	s, g := benchStore(b, fs)
	b.ReportAllocs()
	b.SetBytes(int64(size))
	for b.Loop() {
		b.StopTimer()
		g.record(size, 1)
		at, data := g.take()
		if at > testStart+64<<20 && testSegment.Offset(at) < uint32(size) {
			_, err := s.RemoveBefore(at - wal.LSN(32<<20))
			require.NoError(b, err)
		}
		b.StartTimer()
		if err := s.Append(1, at, data); err != nil {
			b.Fatal(err)
		}
		if sync {
			if err := s.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkAppend128KiB(b *testing.B)      { benchmarkAppend(b, vfs.Default, 128<<10, false) }
func BenchmarkAppendSync8KiB(b *testing.B)    { benchmarkAppend(b, vfs.Default, 8<<10, true) }
func BenchmarkAppendSync200B(b *testing.B)    { benchmarkAppend(b, vfs.Default, 200, true) }
func BenchmarkAppendSync1KiBMem(b *testing.B) { benchmarkAppend(b, vfs.NewMem(), 1<<10, true) }

// TestAppendAndSyncDoNotAllocate holds the commit path to it.
func TestAppendAndSyncDoNotAllocate(t *testing.T) {
	s, g := benchStore(t, vfs.NewMem())
	var at []wal.LSN
	var data [][]byte
	for range 200 {
		g.record(500, 1)
		a, d := g.take()
		at, data = append(at, a), append(data, d)
	}
	i := 0
	one := func() {
		if err := s.Append(1, at[i], data[i]); err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		i++
	}
	for range 5 {
		one()
	}
	if testing.CoverMode() == "" && !invariant.Enabled {
		alloctest.None(t, 50, one)
	}
}
