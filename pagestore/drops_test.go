package pagestore

import (
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
		{[]uint64{1, 10, 10, 10, 10, 1000}, 1, 5},
		{[]uint64{1, 10, 100, 1000, 10000}, 0, 3},
	} {
		lo, hi := chooseSimilar(c.sizes, 4)
		require.Equal(t, [2]int{c.lo, c.hi}, [2]int{lo, hi}, c.sizes)
	}
}
