package pagestore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/internal/monotonic"
	"github.com/walhaven/walhaven/wal"
)

// Compact merges all runs into one, so that everything that no readable LSN
// needs goes and every long chain gets its image. Reads and puts go on.
func (t *Timeline) Compact(ctx context.Context) error {
	_, err := t.compact(ctx, func(_ *layerMap, runs []*run) (lo, hi int) { return 0, len(runs) })
	if err != nil {
		return fmt.Errorf("compact timeline %s: %w", t.id, err)
	}
	invariant.Point(pointCompactDone)
	return nil
}

// CompactIfWorthwhile does one compaction if there are many runs, or if enough of
// them is garbage; it says whether it did. While much is put, it leaves the
// processors to the puts until runs are very many: it is then worth more, too.
func (t *Timeline) CompactIfWorthwhile(ctx context.Context) (bool, error) {
	o := &t.s.o
	garbage := false // is why
	done, err := t.compact(ctx, func(m *layerMap, runs []*run) (lo, hi int) {
		if len(runs) < hurriedRuns*o.CompactRuns && t.hurries() {
			return 0, 0
		}
		sizes := sizesOf(runs)
		if monotonic.At(o.Now()) >= t.rewriteAfter.Load() {
			lo, hi = o.findGarbage(m, runs, sizes)
		}
		if garbage = lo < hi; garbage {
			return lo, hi
		}
		return chooseSimilar(sizes, o.CompactRuns)
	})
	if err != nil {
		if garbage {
			t.rewriteAfter.Store(monotonic.At(o.Now().Add(rewritePause)))
		}
		return false, fmt.Errorf("compact timeline %s: %w", t.id, err)
	}
	return done, nil
}

// rewritePause is for how long runs are not written anew for their garbage when that
// has failed: with a damaged layer, or too little room, it would fail each time, after
// much has been written, and nothing else would be merged.
const rewritePause = 10 * time.Minute

// hurry is in how short a time an in-memory layer fills when much is put, and how
// long that is remembered.
const hurry = 5 * time.Second

// hurries says whether much is being put, or may be: the timeline has just been
// opened.
func (t *Timeline) hurries() bool {
	return monotonic.At(t.s.o.Now())-t.hurried.Load() < int64(hurry)
}

// sizesOf is what runs take, in layers and in the index.
func sizesOf(runs []*run) []uint64 {
	sizes := make([]uint64, len(runs))
	for i, r := range runs {
		sizes[i] = r.info.size() + uint64(len(r.info.Drops))*dropLen
	}
	return sizes
}

// findGarbage picks neighbouring runs of m that are to be written anew for what would
// go, lo == hi for none.
func (o *Options) findGarbage(m *layerMap, runs []*run, sizes []uint64) (lo, hi int) {
	garbage := make([]uint64, len(runs))
	below := len(runs) // the newest run below the cutoff
	for i, r := range runs {
		garbage[i] = r.garbage(m)
		if below == len(runs) && r.info.To <= m.cutoff {
			below = i
		}
	}
	return chooseGarbage(sizes, garbage, below, o.GarbagePercent)
}

// chooseGarbage picks the runs from below on, which lie below the cutoff, if what
// would go is percent of what would stay; or else one run of which that is true. Of
// the oldest run's entries those above it are taken to hide as many bytes as they
// have.
func chooseGarbage(sizes, garbage []uint64, below, percent int) (lo, hi int) {
	worthwhile := func(goes, stays uint64) bool { return goes > 0 && goes*100 >= stays*uint64(percent) }
	n := len(sizes)
	if below < n && worthwhile(sum(sizes[below:n-1])+garbage[n-1], sizes[n-1]-garbage[n-1]) {
		return below, n
	}
	for i := n - 1; i >= 0; i-- {
		if worthwhile(garbage[i], sizes[i]-garbage[i]) {
			return i, i + 1
		}
	}
	return 0, 0
}

const (
	// manyRuns times CompactRuns are merged whatever their sizes.
	manyRuns = 3
	// hurriedRuns times CompactRuns are merged whatever else there is to do: a
	// gigabyte of WAL makes some 50 runs.
	hurriedRuns = 8
)

// chooseSimilar is size-tiered compaction: of runs, newest first, it picks at least
// limit neighbours of which the largest is at most 2/limit of all together, so that
// an entry is rewritten a logarithmic number of times. Among several it takes those
// with the smallest runs. Where there are none, and many runs, it picks the limit
// neighbours that come nearest to that.
func chooseSimilar(sizes []uint64, limit int) (lo, hi int) {
	if len(sizes) < limit {
		return 0, 0
	}
	for _, largest := range slices.Compact(slices.Sorted(slices.Values(sizes))) {
		if lo, hi := stretch(sizes, limit, largest); lo < hi {
			return lo, hi
		}
	}
	if len(sizes) < manyRuns*limit {
		return 0, 0
	}
	best := -1.0
	for at := range len(sizes) - limit + 1 {
		group := sizes[at : at+limit]
		if gain := float64(sum(group)) / float64(max(slices.Max(group), 1)); gain > best {
			best, lo = gain, at
		}
	}
	return lo, lo + limit
}

// stretch finds the first neighbours none of which is larger than largest, at least
// limit of them, that are together limit/2 times as large.
func stretch(sizes []uint64, limit int, largest uint64) (lo, hi int) {
	for ; lo < len(sizes); lo = hi + 1 {
		for hi = lo; hi < len(sizes) && sizes[hi] <= largest; hi++ {
			continue
		}
		if hi-lo >= limit && 2*sum(sizes[lo:hi]) >= uint64(limit)*largest {
			return lo, hi
		}
	}
	return 0, 0
}

func sum(sizes []uint64) (total uint64) {
	for _, size := range sizes {
		total += size
	}
	return total
}

// compact merges the runs that choose picks.
func (t *Timeline) compact(ctx context.Context, choose func(m *layerMap, runs []*run) (lo, hi int)) (bool, error) {
	if err := t.Err(); err != nil {
		return false, err
	}
	if err := t.merging.lock(ctx); err != nil {
		return false, err
	}
	defer t.merging.unlock()
	m := t.acquire()
	if m == nil {
		return false, ErrClosed
	}
	defer t.release(m)
	runs := m.runs[m.parts(t.FlushedLSN()):]
	lo, hi := choose(m, runs)
	if lo == hi {
		return false, nil
	}
	start := time.Now()
	j := runMerge{t: t, m: m, inputs: runs[lo:hi], bottom: hi == len(runs) && t.parent == nil, keep: m.retention()}
	info, err := j.run(ctx)
	if err == nil {
		err = t.swapRuns(j.inputs, info)
	}
	if err != nil {
		t.discard(info.Layers)
		return false, err
	}
	o := &t.s.o
	o.Metrics.merge.Observe(time.Since(start).Seconds())
	o.Metrics.merged.Add(float64(info.size()))
	o.Metrics.collected.Add(float64(j.collected))
	for _, r := range j.inputs {
		o.Metrics.mergeInput.Add(float64(r.info.size()))
	}
	return true, nil
}

// swapRuns puts the merged run in the place of its inputs, in the index and
// then in memory, which list the same runs. Flushes may have added newer ones
// meanwhile; only this compaction removes any.
func (t *Timeline) swapRuns(inputs []*run, info runInfo) error {
	var merged []runInfo
	if len(info.Layers)+len(info.Drops) > 0 {
		merged = []runInfo{info}
	}
	return t.publish(func(x *index) error {
		m := t.current.Load()
		if m == nil {
			return ErrClosed
		}
		at := slices.Index(m.runs, inputs[0])
		x.Runs = slices.Replace(x.Runs, at, at+len(inputs), merged...)
		return nil
	}, func(*index) {
		for _, r := range inputs {
			r.obsolete.Store(true)
		}
		t.replace(func(m *layerMap) {
			at := slices.Index(m.runs, inputs[0])
			var fresh []*run
			if merged != nil {
				fresh = []*run{t.newRun(info)}
			}
			m.runs = slices.Replace(m.runs, at, at+len(inputs), fresh...)
		})
	})
}

// Collect moves the cutoff of garbage collection up to cutoff, at most to
// FlushedLSN, and forgets expired pins. From then on LSNs below it are readable
// only where pinned; compaction removes what nothing readable needs. It returns
// the cutoff in force, which never goes back.
func (t *Timeline) Collect(cutoff wal.LSN) (wal.LSN, error) {
	now := t.s.o.Now()
	inForce := t.CutoffLSN()
	expired := func(p Pin) bool { return !p.Expires.IsZero() && !p.Expires.After(now) }
	if min(cutoff, t.FlushedLSN()) <= inForce && !slices.ContainsFunc(t.Pins(), expired) {
		return inForce, nil
	}
	err := t.publish(func(x *index) error {
		x.Cutoff = max(x.Cutoff, min(cutoff, x.Flushed))
		x.Pins = slices.DeleteFunc(x.Pins, expired)
		inForce = x.Cutoff
		return nil
	}, t.applyPins)
	if err != nil {
		return 0, fmt.Errorf("collect garbage of timeline %s: %w", t.id, err)
	}
	t.s.wakeCompact()
	invariant.Point(pointCollectDone)
	return inForce, nil
}
