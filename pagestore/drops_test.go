package pagestore

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/walhaven/walhaven/wal"
)

// The tree and the log answer as a plain list of drops does.
func TestDropTreeAnswersAsAListDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []drop
		var log dropLog
		for range rapid.IntRange(0, 120).Draw(t, "drops") {
			start := rapid.IntRange(0, 50).Draw(t, "start")
			d := drop{KeyRange{testKey(start), testKey(start + rapid.IntRange(1, 20).Draw(t, "length"))}, wal.LSN(len(list) + 1)}
			list = append(list, d)
			log.add(d)
		}
		tree := newDropTree(list)
		for range 20 {
			key, lsn := testKey(rapid.IntRange(0, 72).Draw(t, "key")), wal.LSN(rapid.IntRange(0, len(list)+1).Draw(t, "lsn"))
			var want wal.LSN
			covering := 0
			for _, d := range list {
				if d.Contains(key) {
					covering++
					if d.lsn <= lsn {
						want = max(want, d.lsn)
					}
				}
			}
			require.Equal(t, want, tree.newest(key, lsn))
			require.Equal(t, want, log.newest(key, lsn))
			tree.each(key, func(*drop) { covering-- })
			require.Zero(t, covering)
		}
	})
}

// Retention against its definition: an entry may go only if every readable LSN
// at or above it also sees the base.
func TestRetentionByDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lsn := func(name string) wal.LSN { return wal.LSN(rapid.IntRange(1, 30).Draw(t, name)) }
		r := retention{cutoff: lsn("cutoff")}
		for p := wal.LSN(1); p < r.cutoff; p++ {
			if rapid.IntRange(0, 3).Draw(t, "pinned") == 0 {
				r.points = append(r.points, p)
			}
		}
		at, base := lsn("entry"), lsn("base")
		if base < at {
			base = 0
		}
		seen := false // by a readable LSN that does not see the base
		for q := at; q <= 40; q++ {
			readable := q >= r.cutoff
			for _, p := range r.points {
				readable = readable || p == q
			}
			seen = seen || readable && (base == 0 || q < base)
		}
		if at > r.cutoff {
			require.True(t, r.needs(at, base), "the window keeps its history")
			return
		}
		require.Equal(t, seen, r.needs(at, base))
	})
}

func TestChooseSimilar(t *testing.T) {
	for _, c := range []struct {
		sizes  []uint64
		lo, hi int
	}{
		{[]uint64{1, 1, 1}, 0, 0},
		{[]uint64{1, 1, 1, 1}, 0, 4},
		{[]uint64{1, 1, 1, 1, 100}, 0, 4},
		{[]uint64{1, 10, 10, 10, 10, 1000}, 0, 5},
		{[]uint64{1, 10, 10, 10, 1, 10, 1000}, 0, 6},
		{[]uint64{20, 10, 10, 1, 1, 1, 1, 10}, 3, 7},
		{[]uint64{3, 10, 100, 1000, 10000}, 0, 0},
		{[]uint64{1, 4, 16, 64, 256, 1024, 1500, 4096, 16384, 65536, 262144, 1048576}, 3, 7}, // Many.
	} {
		lo, hi := chooseSimilar(c.sizes, 4)
		require.Equal(t, [2]int{c.lo, c.hi}, [2]int{lo, hi}, c.sizes)
	}
}

// However much has been put, an entry is rewritten a logarithmic number of times,
// and runs stay few.
func TestRewritesAreFew(t *testing.T) {
	const limit, flushes = 8, 5000
	for name, size := range map[string]func(i int) uint64{
		"equal":   func(int) uint64 { return 1000 },
		"rising":  func(i int) uint64 { return uint64(i + 1) },
		"falling": func(i int) uint64 { return uint64(flushes - i) },
		"mixed":   func(i int) uint64 { return []uint64{1, 1000, 30, 5, 700, 2, 900}[i%7] },
		"empty":   func(i int) uint64 { return uint64(i % 2) },
	} {
		var runs []uint64
		var put, written uint64
		for i := range flushes {
			put += size(i)
			runs = slices.Insert(runs, 0, size(i))
			for {
				lo, hi := chooseSimilar(runs, limit)
				if lo == hi {
					break
				}
				merged := sum(runs[lo:hi])
				written += merged
				runs = slices.Replace(runs, lo, hi, merged)
			}
			require.Less(t, len(runs), manyRuns*limit, name)
		}
		require.Less(t, written, 6*put, name)
	}
}
