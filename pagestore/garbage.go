package pagestore

import (
	"cmp"
	"maps"
	"slices"

	"github.com/walhaven/walhaven/wal"
)

// ending says that about so many bytes of a run's layers are needed as long as one
// LSN can be read, and not any longer: what tells, without looking into it, how much
// of a run is garbage.
//
// For an entry it is the last readable LSN that does not see the entry's base, with
// what was readable when the run was written. So of a run that has just been written
// nothing is garbage, and a byte that is kept for a pin counts again only when that
// pin has gone: each byte makes a compaction worthwhile once, and once for each pin
// that keeps it.
type ending struct {
	at    wal.LSN
	bytes uint64
}

// endingSteps is into how many parts the LSNs of a run above the cutoff are divided:
// what ends within one counts as garbage when the cutoff has passed all of it.
const endingSteps = 16

// lifetimes finds the endings of a run while its entries are written, in the order of
// layers.
type lifetimes struct {
	keep retention
	// What has a base in the run ends between from and to, what has one in a drop of a
	// newer run below newest.
	from, to, newest wal.LSN
	drops            *dropTree

	key     Key
	any     bool
	base    wal.LSN   // nearest above the next entry of key, 0 without one
	cover   []wal.LSN // drops of key that are not above the next entry, newest first
	last    wal.LSN   // the ending found last
	pending uint64    // bytes of it that are not in sums
	sums    map[wal.LSN]uint64
	total   uint64
}

func newLifetimes(keep retention, info *runInfo, newest wal.LSN, drops *dropTree) *lifetimes {
	return &lifetimes{keep: keep, from: max(keep.cutoff, info.From), to: info.To, newest: newest, drops: drops, sums: map[wal.LSN]uint64{}}
}

func (l *lifetimes) add(it *item) {
	if !l.any || it.key != l.key {
		l.key, l.any, l.base, l.cover = it.key, true, 0, l.cover[:0]
		if len(l.drops.nodes) > 0 {
			l.drops.each(it.key, func(d *drop) { l.cover = append(l.cover, d.lsn) })
			slices.SortFunc(l.cover, func(a, b wal.LSN) int { return cmp.Compare(b, a) })
		}
	}
	for len(l.cover) > 0 && it.lsn < l.cover[0] {
		l.base, l.cover = l.cover[0], l.cover[1:]
	}
	size := uint64(len(it.stored))
	l.total += size
	if at := l.ends(it.lsn); at != 0 {
		if at != l.last {
			l.settle()
			l.last = at
		}
		l.pending += size
	}
	if it.kind.ends() {
		l.base = it.lsn
	}
}

func (l *lifetimes) settle() {
	if l.pending > 0 {
		l.sums[l.last] += l.pending
		l.pending = 0
	}
}

// ends returns the ending of an entry at lsn, 0 without one.
func (l *lifetimes) ends(lsn wal.LSN) wal.LSN {
	if l.base == 0 {
		return 0
	}
	at := l.keep.last(lsn, l.base)
	switch {
	case at < l.from:
		return at // A pin's, which is found again.
	case at >= l.to:
		return l.newest - 1 // Not itself: nothing may follow it, and pins are where runs end.
	}
	width := (l.to-l.from)/endingSteps + 1
	return min(l.from+(at-l.from)/width*width+width-1, l.to-1)
}

// take moves what another one found here.
func (l *lifetimes) take(other *lifetimes) {
	other.settle()
	for at, bytes := range other.sums {
		l.sums[at] += bytes
	}
	l.total += other.total
}

// endings are what was found, for layers of so many bytes together.
func (l *lifetimes) endings(size uint64) (ends []ending) {
	l.settle()
	rest := size
	for _, at := range slices.Sorted(maps.Keys(l.sums)) {
		bytes := min(uint64(float64(l.sums[at])/float64(l.total)*float64(size)), rest)
		if bytes > 0 {
			ends = append(ends, ending{at, bytes})
			rest -= bytes
		}
	}
	return ends
}

// garbage is about how many bytes of the run's layers a compaction would leave out.
func (r *run) garbage(m *layerMap) (bytes uint64) {
	for _, e := range r.info.Ends {
		if !m.readable(e.at) {
			bytes += e.bytes
		}
	}
	if len(m.drops.nodes) > 0 {
		for i := range r.info.Layers {
			if l := &r.info.Layers[i]; r.dropped(m, l) {
				bytes += l.Size
			}
		}
	}
	return min(bytes, r.info.size())
}

// dropped says whether a newer run's drop covers all of a layer and no readable LSN
// lies below it.
func (r *run) dropped(m *layerMap, l *layerInfo) (dropped bool) {
	m.drops.each(l.First, func(d *drop) {
		if r.info.To >= d.lsn || d.lsn > m.cutoff || !d.Contains(l.Last) {
			return
		}
		dropped = dropped || !slices.ContainsFunc(m.pins, func(p Pin) bool { return p.LSN > r.info.From && p.LSN < d.lsn })
	})
	return dropped
}
