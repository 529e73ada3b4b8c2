package pagestore

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/walhaven/walhaven/wal"
)

// Endings against their definition: nothing of what has just been written is
// garbage, later none that retention gives up is missed, and without pins it is just
// that. LSNs are so few that each is a step of its own.
func TestEndingsByDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const last = endingSteps
		lsn := func(name string) wal.LSN { return wal.LSN(rapid.IntRange(1, last).Draw(t, name)) }
		before := retention{cutoff: lsn("cutoff")}
		for p := wal.LSN(1); p < before.cutoff; p++ {
			if rapid.IntRange(0, 3).Draw(t, "pinned") == 0 {
				before.points = append(before.points, p)
			}
		}
		after := retention{cutoff: max(before.cutoff, lsn("new cutoff"))}
		after.points = slices.DeleteFunc(slices.Clone(before.points), func(wal.LSN) bool { return rapid.Bool().Draw(t, "unpinned") })
		var drops []drop
		for range rapid.IntRange(0, 2).Draw(t, "drops") {
			drops = append(drops, drop{KeyRange{testKey(rapid.IntRange(0, 2).Draw(t, "start")), testKey(3)}, lsn("drop")})
		}
		tree := newDropTree(drops)
		l := newLifetimes(before, &runInfo{From: 0, To: last}, last, &tree)
		var goes, total uint64
		for key := range 3 {
			base := wal.LSN(0)
			for at := wal.LSN(last); at > 0; at-- {
				for _, d := range drops {
					if d.Contains(testKey(key)) && at == d.lsn-1 {
						base = d.lsn
					}
				}
				if !rapid.Bool().Draw(t, "entry") || !before.needs(at, base) {
					continue
				}
				it := item{key: testKey(key), lsn: at, kind: rapid.SampledFrom([]Kind{Image, Delta}).Draw(t, "kind"), stored: make([]byte, rapid.IntRange(1, 9).Draw(t, "size"))}
				l.add(&it)
				total += uint64(len(it.stored))
				if !after.needs(at, base) {
					goes += uint64(len(it.stored))
				}
				if it.kind.ends() {
					base = at
				}
			}
		}
		garbage := func(r retention) uint64 {
			m := &layerMap{cutoff: r.cutoff}
			for _, p := range r.points {
				m.pins = append(m.pins, Pin{LSN: p})
			}
			run := &run{info: runInfo{To: last, Layers: []layerInfo{{Size: total}}, Ends: l.endings(total)}}
			require.NoError(t, (&index{
				Timeline: timelineID(0), Flushed: last, NextLayer: 1, Runs: []runInfo{run.info},
			}).validate())
			return run.garbage(m)
		}
		require.Zero(t, garbage(before))
		if got := garbage(after); len(before.points) > 0 {
			require.GreaterOrEqual(t, got+8, goes) // Fractions of a byte are left out.
		} else {
			require.InDelta(t, goes, got, 8)
		}
	})
}

func TestChooseGarbage(t *testing.T) {
	for _, c := range []struct {
		sizes, garbage []uint64
		below          int
		lo, hi         int
	}{
		{[]uint64{}, []uint64{}, 0, 0, 0},
		{[]uint64{100}, []uint64{0}, 0, 0, 0},
		{[]uint64{0}, []uint64{0}, 0, 0, 0},
		{[]uint64{100}, []uint64{33}, 0, 0, 0},
		{[]uint64{100}, []uint64{34}, 0, 0, 1},
		{[]uint64{100}, []uint64{34}, 1, 0, 1}, // The cutoff lies within it.
		{[]uint64{100}, []uint64{100}, 1, 0, 1},
		{[]uint64{9, 20, 100}, []uint64{0, 0, 0}, 1, 0, 0},
		{[]uint64{9, 50, 100}, []uint64{0, 0, 0}, 1, 1, 3},
		{[]uint64{9, 20, 100}, []uint64{0, 0, 20}, 1, 1, 3}, // Together.
		{[]uint64{9, 20, 100}, []uint64{0, 7, 0}, 3, 1, 2},  // In the middle.
		{[]uint64{9, 20, 100}, []uint64{9, 7, 0}, 3, 1, 2},  // The older one first.
		{[]uint64{9, 20, 100}, []uint64{9, 0, 0}, 1, 0, 1},
	} {
		lo, hi := chooseGarbage(c.sizes, c.garbage, c.below, 50)
		require.Equal(t, [2]int{c.lo, c.hi}, [2]int{lo, hi}, c)
	}
}

// garbageTest is a timeline whose keys are overwritten, with values of which half
// compresses to nothing, as of pages.
type garbageTest struct {
	*testing.T
	o   Options
	now time.Time
	s   *Store
	tl  *Timeline
	rng *rand.Rand
}

const (
	garbageKeys  = 100
	garbageValue = 1000
	garbageBase  = garbageKeys * garbageValue
	// garbagePacked is more than that takes in layers.
	garbagePacked = garbageBase * 6 / 10
)

func newGarbageTest(t *testing.T) *garbageTest {
	g := &garbageTest{T: t, now: time.Unix(1000, 0), rng: rand.New(rand.NewPCG(1, 2))} //nolint:gosec // A test's values.
	g.o = smallOptions(vfs.NewMem())
	g.o.Metrics = NewMetrics(nil)
	g.o.MemLayerSize, g.o.LayerSize, g.o.BlockSize = 1<<20, 16<<10, 4<<10
	g.o.Now = func() time.Time { return g.now }
	g.s = mustOpen(t, g.o)
	var err error
	g.tl, err = g.s.Create(timelineID(0), 0)
	require.NoError(t, err)
	return g
}

// overwrite puts each key so many times, a run each, and merges what the background
// would.
func (g *garbageTest) overwrite(times int) {
	for range times {
		b := Batch{LSN: g.tl.LastLSN()}
		for key := range garbageKeys {
			b.LSN++
			value := make([]byte, garbageValue)
			for i := range garbageValue / 2 {
				value[i] = byte(g.rng.Uint32())
			}
			b.Entries = append(b.Entries, Entry{Key: testKey(key), LSN: b.LSN, Kind: Image, Value: value})
		}
		require.NoError(g, g.tl.Put(g.Context(), b))
		require.NoError(g, g.tl.Flush(g.Context()))
		g.background()
	}
}

// background does what Run would, in calm; it says how many compactions it took.
func (g *garbageTest) background() (done int) {
	g.now = g.now.Add(2 * hurry)
	for {
		did, err := g.tl.CompactIfWorthwhile(g.Context())
		require.NoError(g, err)
		if !did {
			return done
		}
		done++
		require.Less(g, done, 20, "compacts again and again")
	}
}

// collect moves the cutoff back from the end and does what the background would.
func (g *garbageTest) collect(window wal.LSN) (done int) {
	_, err := g.tl.Collect(g.tl.LastLSN() - window)
	require.NoError(g, err)
	return g.background()
}

func (g *garbageTest) size() int       { return int(g.tl.Info().LayerBytes) }
func (g *garbageTest) merged() float64 { return testutil.ToFloat64(g.o.Metrics.merged) }
func (g *garbageTest) close()          { require.NoError(g, g.s.Close()) }

// Layers take at most the base's size and the window's, whatever the window is and
// though nothing new comes; and at most half as much again as what is needed.
func TestLayersTakeBaseAndWindow(t *testing.T) {
	g := newGarbageTest(t)
	defer g.close()
	const times = 40
	g.overwrite(times)
	require.NoError(t, g.tl.Compact(t.Context())) // One run: the cutoff is always within it.
	require.Equal(t, 1, g.tl.Info().Runs)
	packed := g.size() / times // what garbageBase takes
	require.Greater(t, packed, garbageBase/2)

	// The cutoff moves a little each minute.
	written, compactions, before := g.merged(), 0, times*garbageKeys
	for window := times * garbageKeys; window >= 0; window -= garbageKeys / 4 {
		if done := g.collect(wal.LSN(window)); done > 0 {
			compactions, before = compactions+done, window
		}
		require.LessOrEqual(t, g.size(), garbageBase+window*garbageValue, "window of %d", window)
		needed := packed + packed*(window+before/endingSteps+1)/garbageKeys // with what a step hides
		require.LessOrEqual(t, g.size(), needed*8/5, "window of %d", window)
	}
	require.LessOrEqual(t, g.size(), packed*8/5)
	written = g.merged() - written
	t.Logf("%d compactions wrote %.2f bytes for each that went", compactions, written/float64(times*packed))
	require.Less(t, written, 2.2*float64(times*packed), "each byte that goes is worth two written")
	require.Zero(t, g.collect(0), "and it rests")

	// In the steady state, with a window of a few times.
	const window = 5
	put, written := 0, g.merged()
	for range times {
		g.overwrite(1)
		put += packed
		g.collect(window * garbageKeys)
		require.LessOrEqual(t, g.size(), garbageBase+window*garbageBase)
	}
	t.Logf("%.2f bytes written for each that was put", (g.merged()-written)/float64(put))
	require.Less(t, g.merged()-written, 6*float64(put))
	g.collect(0)
	require.LessOrEqual(t, g.size(), garbageBase)
}

// What a pin or a branch keeps makes no compaction worthwhile while it is there, and
// goes when it has gone.
func TestPinnedIsNoGarbage(t *testing.T) {
	g := newGarbageTest(t)
	defer g.close()
	g.overwrite(3)
	at := g.tl.LastLSN()
	require.NoError(t, g.tl.Pin(t.Context(), "first", at, time.Time{}))
	g.overwrite(2)
	require.NoError(t, g.tl.Pin(t.Context(), "second", g.tl.LastLSN(), time.Time{}))
	g.overwrite(2)
	_, err := g.s.Branch(t.Context(), timelineID(0), timelineID(1), g.tl.LastLSN())
	require.NoError(t, err)
	g.overwrite(3)
	require.NoError(t, g.tl.Compact(t.Context()))
	require.Equal(t, 1, g.collect(0))
	require.Greater(t, g.size(), 4*garbageBase/2)
	require.Zero(t, g.collect(0))
	var v Value
	require.NoError(t, g.tl.Get(t.Context(), testKey(7), at, &v))

	g.s = g.reopen()
	require.Zero(t, g.background(), "the index knows of it")
	require.NoError(t, g.tl.Unpin("first"))
	require.NoError(t, g.tl.Unpin("second"))
	require.Equal(t, 1, g.background())
	require.LessOrEqual(t, g.size(), 2*garbagePacked)
	require.NoError(t, g.s.Delete(timelineID(1)))
	require.Equal(t, 1, g.background())
	require.LessOrEqual(t, g.size(), garbagePacked)
}

func (g *garbageTest) reopen() *Store {
	require.NoError(g, g.s.Close())
	s := mustOpen(g, g.o)
	var err error
	g.tl, err = s.Timeline(timelineID(0))
	require.NoError(g, err)
	return s
}

// A drop of much that is old makes room, though it takes none itself; not while
// something before it can be read.
func TestDroppedIsGarbage(t *testing.T) {
	g := newGarbageTest(t)
	defer g.close()
	g.overwrite(1)
	require.NoError(t, g.tl.Pin(t.Context(), "before", g.tl.LastLSN(), time.Time{}))
	put(t, g.tl, Entry{Kind: Drop, Key: testKey(10), End: testKey(90)})
	require.NoError(t, g.tl.Flush(t.Context()))
	require.Zero(t, g.collect(0))
	require.NoError(t, g.tl.Unpin("before"))
	require.Equal(t, 1, g.background())
	require.LessOrEqual(t, g.size(), garbagePacked*3/10)
	var v Value
	require.ErrorIs(t, g.tl.Get(t.Context(), testKey(50), g.tl.LastLSN(), &v), ErrNotFound)
	require.NoError(t, g.tl.Get(t.Context(), testKey(9), g.tl.LastLSN(), &v))
}

// What a newer run's drop hides within a layer counts from that drop on, also when
// nothing comes after it, and whatever is pinned at the end.
func TestDroppedWithinALayerIsGarbage(t *testing.T) {
	for _, branched := range []bool{false, true} {
		g := newGarbageTest(t)
		g.o.LayerSize = 1 << 20
		g.s = g.reopen()
		g.overwrite(2)
		require.NoError(t, g.tl.Compact(t.Context()))
		at := put(t, g.tl, Entry{Kind: Drop, Key: testKey(10), End: testKey(90)})
		require.NoError(t, g.tl.Flush(t.Context()))
		if branched {
			_, err := g.s.Branch(t.Context(), timelineID(0), timelineID(1), at)
			require.NoError(t, err)
		}
		require.Equal(t, 1, g.collect(8), "the first images go, the drop's LSNs can be read")
		require.Greater(t, g.size(), garbageBase/2)
		require.Equal(t, 1, g.collect(0))
		require.LessOrEqual(t, g.size(), garbagePacked*3/10)
		g.close()
	}
}

// A run that cannot be written anew does not keep others from being merged, and is
// not tried at every turn.
func TestGarbageThatCannotGo(t *testing.T) {
	g := newGarbageTest(t)
	defer func() { _ = g.s.Close() }()
	g.overwrite(3)
	require.NoError(t, g.tl.Compact(t.Context()))
	dir := g.o.FS.PathJoin(testDir, timelineID(0).String())
	path := g.o.FS.PathJoin(dir, layerName(&g.tl.current.Load().runs[0].info.Layers[2]))
	g.s = g.reopen()
	content := readAll(t, g.o.FS, path)
	content[100] ^= 1
	writeAll(t, g.o.FS, path, content)
	_, err := g.tl.Collect(g.tl.LastLSN())
	require.NoError(t, err)
	failed := 0
	for range 40 {
		put(t, g.tl, Entry{Kind: Image, Key: testKey(500), Value: []byte{1}})
		require.NoError(t, g.tl.Flush(t.Context()))
		g.now = g.now.Add(2 * hurry)
		if _, err := g.tl.CompactIfWorthwhile(t.Context()); err != nil {
			failed++
		}
	}
	require.Equal(t, 1, failed)
	require.LessOrEqual(t, g.tl.Info().Runs, 2+g.o.CompactRuns)
	g.now = g.now.Add(rewritePause)
	_, err = g.tl.CompactIfWorthwhile(t.Context())
	var damage *CorruptionError
	require.ErrorAs(t, err, &damage)
}

// Runs of a program that knew no endings are written anew once, when nothing within
// can be read any more.
func TestRunsOfVersion1AreWrittenOnce(t *testing.T) {
	o := layerOptions(storeOfVersion1(t))
	now := time.Unix(1000, 0)
	o.Now, o.Materialize = func() time.Time { return now }, materialize
	s := mustOpen(t, o)
	now = now.Add(2 * hurry)
	tl, err := s.Timeline(timelineID(0))
	require.NoError(t, err)
	background := func() bool {
		done, err := tl.CompactIfWorthwhile(t.Context())
		require.NoError(t, err)
		return done
	}
	h := damagedHistory()
	for _, cutoff := range []wal.LSN{h.last - 1, h.last} {
		require.False(t, background(), "below %s", cutoff)
		h.cutoff, err = tl.Collect(cutoff)
		require.NoError(t, err)
	}
	require.NoError(t, s.Close()) // It is remembered beyond the index that is written now.
	s = mustOpen(t, o)
	defer s.Close()
	now = now.Add(2 * hurry)
	tl, err = s.Timeline(timelineID(0))
	require.NoError(t, err)
	require.True(t, background())
	require.False(t, background())
	require.NoError(t, h.check(tl, h.last, 7))
}
