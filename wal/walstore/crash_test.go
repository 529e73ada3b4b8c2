package walstore

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// life is the workload: it passes every fail point but those of fencing.
func (w *world) life() {
	w.create()
	w.record(500)
	w.append()
	w.sync()
	w.save(w.nextState(), w.h)
	for range 5 {
		w.record(300_000)
		w.sync()
	}
	w.record(1_500_000) // over several segments
	w.record(200)
	w.sync()
	w.switchSegment()
	w.record(5000)
	w.sync()
	w.remove(testStart + 2<<20)
	w.lose(50)

	keep := w.g.pos
	w.record(400_000)
	w.record(700_000)
	w.sync()
	w.record(100_000) // never synced
	w.elect(keep, w.h)
	w.record(20_000)
	w.sync()
	w.elect(w.g.pos, twoTimelines(w.g.pos))
	w.record(30_000)
	w.sync()
	w.lose(100)
	w.record(2_000_000)
	w.sync()
	w.halfRecord()
	w.reopen() // not clean: the half record goes
	w.record(1000)
	w.sync()
	w.reopen() // clean
	w.record(100)
	w.sync()
	require.NoError(w.t, w.s.Close())
}

// halfRecord appends and syncs the first part of a record.
func (w *world) halfRecord() {
	w.note(w.g.record(90_000, 3))
	at, b := w.g.take()
	w.seq = append(w.seq[:at-testStart:at-testStart], b...)
	w.expect(func(k *oracle) { k.allowed[w.state] = w.seq })
	require.NoError(w.t, w.s.Append(w.g.tli, at, b[:60_000]))
	w.sync()
}

func percents() []int {
	if invariant.Enabled {
		return []int{50} // The race detector is slow; the plain build does them all.
	}
	return []int{0, 50, 100}
}

// allocations are the ways to make segments: always with zeroes, or without where it can
// be.
var allocations = map[string]time.Duration{"written": 0, "allocated": time.Hour}

func TestCrashBeforeEveryOperation(t *testing.T) {
	for name, within := range allocations {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, percents()...)
			w.o.AllocateWithin = within
			if invariant.Enabled {
				w.sparse = 4
			}
			w.hookOperations()
			w.life()
			w.requireSound()
			t.Logf("%d crash points covered", w.crashes)
			require.Greater(t, w.crashes, 40)
		})
	}
}

// hookPoints crashes at each named fail point.
func (w *world) hookPoints(t *testing.T) {
	w.reentrant = true
	w.hook = func() { w.o.FS = w.disk }
	w.hook()
	for _, name := range points {
		invariant.OnPoint(t, name, func(int) { w.crash(w.disk, name) })
	}
}

// TestCrashAtEveryFailPoint does the same at the named points.
func TestCrashAtEveryFailPoint(t *testing.T) {
	invariant.Require(t)
	for name, within := range allocations {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2, 0, 50, 100)
			w.o.AllocateWithin = within
			w.sparse = 4
			w.hookPoints(t)
			w.life()
			w.requireSound()
			t.Logf("%d crash points covered at named fail points", w.crashes)
		})
	}
}

// TestWorkloadPassesEveryFailPoint keeps the test above honest.
func TestWorkloadPassesEveryFailPoint(t *testing.T) {
	invariant.Require(t)
	before := invariant.Hits()
	w := newWorld(t, 2)
	w.hook = func() { w.o.FS = w.disk }
	w.hook()
	w.life()
	s := create(t, Options{FS: vfs.NewMem()})
	_ = s.fenceWith(errors.New("test"))
	require.ErrorIs(t, s.Close(), ErrFenced)
	shut(t, open(t, Options{FS: s.d.fs}))
	passed := 0
	for _, name := range points {
		require.Greater(t, invariant.Hits()[name], before[name], name)
		passed++
	}
	t.Logf("%d named fail points passed", passed)
}

// TestCrashRandom runs random lives.
func TestCrashRandom(t *testing.T) {
	seeds, crashes, sparse := 8, 0, 12
	if invariant.Enabled {
		seeds, sparse = 2, 40
	}
	for seed := range seeds {
		w := newWorld(t, uint64(seed)+100, percents()...)
		w.sparse = sparse
		if seed%2 == 1 {
			w.o.AllocateWithin = time.Hour // Always.
		}
		w.hookOperations()
		w.create()
		for range 60 {
			w.step(w.rng)
		}
		require.NoError(t, w.s.Close())
		w.requireSound()
		crashes += w.crashes
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d crash points covered", crashes)
}

// step does something at random.
func (w *world) step(r *rand.Rand) {
	switch n := r.IntN(100); {
	case n < 45:
		w.record(r.IntN(1 << (8 + r.IntN(13))))
	case n < 60:
		w.sync()
	case n < 65:
		w.switchSegment()
	case n < 70:
		w.save(w.nextState(), w.h)
	case n < 80:
		w.electSomewhere(r)
	case n < 85:
		w.remove(w.s.Positions().Write - wal.LSN(r.IntN(4<<20)))
	case n < 88:
		w.halfRecord()
		w.elect(w.s.Positions().WriteRecord, w.h)
	case n < 94:
		w.lose([]int{0, 50, 100}[r.IntN(3)])
	default:
		w.sync()
		w.reopen()
	}
}

// electSomewhere cuts to a record end near the end of the WAL and goes on with
// the same timeline, or with a new one.
func (w *world) electSomewhere(r *rand.Rand) {
	p := w.s.Positions()
	low := max(testStart, w.s.Oldest()+1, p.Write-min(p.Write, wal.LSN(r.IntN(3<<20))))
	i, _ := slices.BinarySearch(w.live, low)
	if i == len(w.live) {
		return
	}
	to := w.live[i]
	h, _ := w.h.Upto(w.h.TLIAt(to - 1))
	if r.IntN(3) == 0 {
		w.tlis++
		h = wal.TimelineHistory{Last: wal.TLI(w.tlis + 1), Ancestors: append(h.Ancestors[:len(h.Ancestors):len(h.Ancestors)], wal.HistoryEntry{TLI: h.Last, Switch: to})}
	}
	w.elect(to, h)
}

// TestCrashTestSeesMissingSyncs is a negative control.
func TestCrashTestSeesMissingSyncs(t *testing.T) {
	w := newWorld(t, 1, 0)
	w.o.NoSync = true
	w.hookOperations()
	w.create()
	w.record(500)
	w.sync()
	w.record(500)
	w.sync()
	w.save(w.nextState(), w.h)
	require.NotEmpty(t, w.found, "without fsync acknowledged WAL is lost, and the test must see it")
	require.NoError(t, w.s.Close())
}

// TestCrashTestSeesHistoryBeforeTruncation is a negative control: a caller that
// persists its new history before the WAL is cut leaves, after a crash in
// between, the old WAL under the new history.
func TestCrashTestSeesHistoryBeforeTruncation(t *testing.T) {
	w := newWorld(t, 1, 0)
	w.hookOperations()
	w.create()
	w.record(500)
	w.sync()
	to := w.g.pos
	w.record(700)
	w.sync()
	require.Empty(t, w.found)

	w.expect(func(k *oracle) {
		k.must = to
		k.allowed["new term"], k.history["new term"] = w.seq[:to-testStart], w.h
	})
	require.NoError(t, w.s.SaveControl(func(c *Control) { c.State = []byte("new term") }))
	require.NoError(t, w.s.Truncate(to, w.h))
	require.NotEmpty(t, w.found, "the wrong order must be seen")
	require.NoError(t, w.s.Close())
}

// A history that contradicts stored bytes is refused, so that the TLI at least
// cannot be persisted in the wrong order.
func TestHistoryBeforeTruncationIsRefused(t *testing.T) {
	s := create(t, Options{FS: vfs.NewMem()})
	defer shut(t, s)
	g := newGenerator()
	_, to := g.record(100, 1)
	g.record(100, 2)
	push(t, s, g)
	h := twoTimelines(to)
	save := func() error { return s.SaveControl(func(c *Control) { c.History = h }) }
	require.ErrorIs(t, save(), ErrHistory)
	require.NoError(t, s.Truncate(to, h))
	g = &generator{tli: 2, pos: to, prev: testStart}
	g.record(100, 3)
	at, b := g.take()
	require.ErrorIs(t, s.Append(2, at, b), ErrWrongTLI, "a crash would lose the history that names these bytes")
	require.NoError(t, save())
	require.NoError(t, s.Append(2, at, b))
	require.NoError(t, s.Fenced())
}
