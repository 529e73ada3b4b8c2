package pagestore

import (
	"slices"
	"sort"
	"sync/atomic"

	"github.com/walhaven/walhaven/wal"
)

// run is a set of layers with disjoint keys and one range of LSNs. It counts
// the layer maps that hold it; the last one to go deletes the files of a run
// that the index no longer names.
type run struct {
	info     runInfo
	layers   []*layer // by key
	refs     atomic.Int64
	obsolete atomic.Bool
}

func (t *Timeline) newRun(info runInfo) *run {
	r := &run{info: info, layers: make([]*layer, len(info.Layers))}
	for i := range info.Layers {
		r.layers[i] = t.newLayer(info.Layers[i])
	}
	t.s.o.Metrics.layers.Add(float64(len(r.layers)))
	t.s.o.Metrics.layerBytes.Add(float64(info.size()))
	return r
}

// find returns the layer whose keys may hold key.
func (r *run) find(key Key) *layer {
	i := sort.Search(len(r.layers), func(i int) bool { return r.layers[i].info.Last.Compare(key) >= 0 })
	if i == len(r.layers) || r.layers[i].info.First.Compare(key) > 0 {
		return nil
	}
	return r.layers[i]
}

// within returns the layers that may hold keys of kr.
func (r *run) within(kr KeyRange) []*layer {
	lo := sort.Search(len(r.layers), func(i int) bool { return r.layers[i].info.Last.Compare(kr.Start) >= 0 })
	hi := sort.Search(len(r.layers), func(i int) bool { return r.layers[i].info.First.Compare(kr.End) >= 0 })
	return r.layers[lo:max(lo, hi)]
}

func (r *run) unref(t *Timeline) {
	if r.refs.Add(-1) > 0 {
		return
	}
	obsolete := r.obsolete.Load()
	for _, l := range r.layers {
		_ = l.close(true) // Only read from.
		if obsolete {
			_ = t.s.disk.remove(l.path(), pointLayerRemove) // What stays is removed by the next Open.
		}
	}
	t.s.o.Metrics.layers.Sub(float64(len(r.layers)))
	t.s.o.Metrics.layerBytes.Sub(float64(r.info.size()))
}

// layerMap is an immutable snapshot of what a timeline holds. Readers take one,
// use it, and release it; the timeline replaces it.
type layerMap struct {
	refs   atomic.Int64
	mems   []*memLayer // newest first; the first one takes puts
	runs   []*run      // newest first
	drops  dropTree    // of all runs
	cutoff wal.LSN
	pins   []Pin // by LSN
}

// acquire takes the current snapshot; nil when the timeline is closed.
func (t *Timeline) acquire() *layerMap {
	for {
		m := t.current.Load()
		if m == nil {
			return nil
		}
		n := m.refs.Load()
		if n > 0 && m.refs.CompareAndSwap(n, n+1) {
			return m
		}
		// It was replaced and released between the two loads.
	}
}

func (t *Timeline) release(m *layerMap) {
	if m.refs.Add(-1) > 0 {
		return
	}
	for _, mem := range m.mems {
		mem.unref(t)
	}
	for _, r := range m.runs {
		r.unref(t)
	}
	t.s.maps.Done()
}

// replace installs an edited copy of the current snapshot.
func (t *Timeline) replace(edit func(m *layerMap)) {
	t.mapMu.Lock()
	defer t.mapMu.Unlock()
	old := t.current.Load()
	if old == nil {
		return // Closed meanwhile.
	}
	next := &layerMap{mems: slices.Clone(old.mems), runs: slices.Clone(old.runs), drops: old.drops, cutoff: old.cutoff, pins: old.pins}
	edit(next)
	t.install(next, !slices.Equal(old.runs, next.runs))
	t.release(old)
}

// install makes m the current snapshot.
func (t *Timeline) install(m *layerMap, newRuns bool) {
	if newRuns {
		var drops []drop
		for _, r := range m.runs {
			drops = append(drops, r.info.Drops...)
		}
		m.drops = newDropTree(drops)
	}
	for _, mem := range m.mems {
		mem.refs.Add(1)
	}
	for _, r := range m.runs {
		r.refs.Add(1)
	}
	m.refs.Store(1)
	t.s.maps.Add(1)
	t.current.Store(m)
}

// hides returns the newest drop at or below lsn that covers key: what lies
// below it does not exist.
func (m *layerMap) hides(key Key, lsn wal.LSN) wal.LSN {
	for _, mem := range m.mems {
		if d := mem.hides(key, lsn); d != 0 {
			return d // Older layers hold older drops.
		}
	}
	return m.drops.newest(key, lsn)
}

// readable says whether garbage collection leaves lsn alone.
func (m *layerMap) readable(lsn wal.LSN) bool {
	if lsn >= m.cutoff {
		return true
	}
	_, found := slices.BinarySearchFunc(m.pins, lsn, func(p Pin, lsn wal.LSN) int {
		switch {
		case p.LSN < lsn:
			return -1
		case p.LSN > lsn:
			return 1
		}
		return 0
	})
	return found
}
