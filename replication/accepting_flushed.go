package replication

import (
	"sort"
	"sync"
	"time"

	"github.com/walhaven/walhaven/wal"
)

const (
	// flushMarks is how many positions are remembered, flushStep how far apart in
	// time at least: what came between counts as come with the next.
	flushMarks = 8192
	flushStep  = 5 * time.Millisecond
)

// flushLog remembers when positions became durable, for receipts, in memory only.
// The zero value is ready.
type flushLog struct {
	mu    sync.Mutex
	marks []mark // a ring of rising positions, first is the oldest
	first int
}

// add notes that everything below l is durable since at. Positions rise, but for
// cut.
func (f *flushLog) add(l wal.LSN, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.marks); n > 1 {
		last, before := f.index(n-1), f.index(n-2)
		if f.marks[last].at.Sub(f.marks[before].at) < flushStep {
			f.marks[last] = mark{l, at}
			return
		}
	}
	if len(f.marks) < flushMarks {
		f.marks = append(f.marks, mark{l, at})
		return
	}
	f.marks[f.first] = mark{l, at}
	f.first = (f.first + 1) % flushMarks
}

func (f *flushLog) index(i int) int { return (f.first + i) % len(f.marks) }

// cut forgets what was durable beyond l: it is there no more.
func (f *flushLog) cut(l wal.LSN) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := make([]mark, 0, len(f.marks))
	for i := range f.marks {
		if m := f.marks[f.index(i)]; m.lsn <= l {
			kept = append(kept, m)
		}
	}
	f.marks, f.first = kept, 0
}

// at returns when l became durable, at the latest; false when that was before the
// start of the safekeeper, is too long ago, or has not been yet.
func (f *flushLog) at(l wal.LSN) (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.marks)
	i := sort.Search(n, func(i int) bool { return f.marks[f.index(i)].lsn >= l })
	if i == n || i == 0 {
		return time.Time{}, false // The oldest mark tells nothing of what lies below it.
	}
	return f.marks[f.index(i)].at, true
}

// FlushedAt returns when WAL up to l became durable here, at the latest, and
// whether that is known: only what came since the start of the safekeeper, and
// not too long ago, is.
func (a *Accepting) FlushedAt(l wal.LSN) (time.Time, bool) { return a.flushed.at(l) }

// TermAt is the term that wrote the byte in front of l, by the history of what is
// durable here; 0 = none did.
func (s Status) TermAt(l wal.LSN) (t wal.Term) {
	if l > s.FlushLSN {
		return 0
	}
	for _, e := range s.History {
		if e.LSN < l {
			t = e.Term
		}
	}
	return t
}
