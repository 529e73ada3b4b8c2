package pagestore

import (
	"slices"

	"github.com/walhaven/walhaven/wal"
)

// drop says that no key of the range existed any more from lsn on. What was put
// below lsn is hidden from reads at or above it.
type drop struct {
	KeyRange
	lsn wal.LSN
}

// dropTree answers which drops cover a key: an array sorted by start that is
// read as a balanced tree, with the largest end of each subtree. Immutable.
type dropTree struct {
	nodes  []drop
	maxEnd []Key
}

func newDropTree(drops []drop) dropTree {
	if len(drops) == 0 {
		return dropTree{}
	}
	t := dropTree{nodes: slices.Clone(drops), maxEnd: make([]Key, len(drops))}
	slices.SortFunc(t.nodes, func(a, b drop) int { return a.Start.Compare(b.Start) })
	t.build(0, len(t.nodes))
	return t
}

func (t *dropTree) build(lo, hi int) Key {
	if lo >= hi {
		return MinKey
	}
	mid := int(uint(lo+hi) >> 1)
	end := t.nodes[mid].End
	for _, e := range []Key{t.build(lo, mid), t.build(mid+1, hi)} {
		if e.Compare(end) > 0 {
			end = e
		}
	}
	t.maxEnd[mid] = end
	return end
}

// each calls f with every drop that covers key.
func (t *dropTree) each(key Key, f func(d *drop)) { t.walk(0, len(t.nodes), key, f) }

func (t *dropTree) walk(lo, hi int, key Key, f func(d *drop)) {
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if t.maxEnd[mid].Compare(key) <= 0 {
			return // Every drop of this subtree ends at or before the key.
		}
		t.walk(lo, mid, key, f)
		d := &t.nodes[mid]
		if d.Start.Compare(key) > 0 {
			return // So do all to the right.
		}
		if key.Compare(d.End) < 0 {
			f(d)
		}
		lo = mid + 1
	}
}

// newest returns the LSN of the newest drop at or below lsn that covers key, 0
// without one.
func (t *dropTree) newest(key Key, lsn wal.LSN) (newest wal.LSN) {
	if len(t.nodes) == 0 {
		return 0
	}
	t.each(key, func(d *drop) {
		if d.lsn <= lsn {
			newest = max(newest, d.lsn)
		}
	})
	return newest
}

// dropLog takes drops one by one: most of them are in a tree that is built anew
// as they grow, the latest in a list.
type dropLog struct {
	all  []drop
	tree dropTree
}

// dropTail is how many drops are searched one by one.
const dropTail = 32

func (l *dropLog) add(d drop) {
	l.all = append(l.all, d)
	treed := len(l.tree.nodes)
	if len(l.all)-treed > dropTail+treed/4 {
		l.tree = newDropTree(l.all)
	}
}

func (l *dropLog) newest(key Key, lsn wal.LSN) wal.LSN {
	newest := l.tree.newest(key, lsn)
	for i := len(l.tree.nodes); i < len(l.all); i++ {
		if d := &l.all[i]; d.lsn <= lsn && d.lsn > newest && d.Contains(key) {
			newest = d.lsn
		}
	}
	return newest
}
