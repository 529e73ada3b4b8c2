package pagestore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/walhaven/walhaven/wal"
)

const modelKeys = 12

// model drives a store and the plain histories side by side.
type model struct {
	s    *Store
	fs   *vfs.MemFS
	all  []*history
	live []*Timeline
	n    int
	now  atomic.Int64 // seconds
}

// options have a clock by which nothing is put in a hurry, so that compaction
// chooses, and make little garbage enough.
func (m *model) options() Options {
	o := smallOptions(m.fs)
	o.Now = func() time.Time { return time.Unix(m.now.Add(int64(2*hurry/time.Second)), 0) }
	o.GarbagePercent = 5
	return o
}

func newModel(t *rapid.T) *model {
	m := &model{fs: vfs.NewCrashableMem()}
	var err error
	if m.s, err = Open(testDir, m.options()); err != nil {
		t.Fatal(err)
	}
	tl, err := m.s.Create(timelineID(0), 100)
	if err != nil {
		t.Fatal(err)
	}
	m.live = append(m.live, tl)
	m.all = append(m.all, &history{start: 100, last: 100, cutoff: 100, pins: map[string]wal.LSN{}})
	return m
}

func (m *model) pick(t *rapid.T) (*history, *Timeline) {
	i := rapid.IntRange(0, len(m.all)-1).Draw(t, "timeline")
	return m.all[i], m.live[i]
}

func (m *model) lsn(t *rapid.T, h *history) wal.LSN {
	return wal.LSN(rapid.Uint64Range(90, uint64(h.last)).Draw(t, "lsn"))
}

func (m *model) put(t *rapid.T) {
	h, tl := m.pick(t)
	b := Batch{}
	lsn := h.last
	for range rapid.IntRange(0, 12).Draw(t, "entries") {
		lsn += wal.LSN(rapid.IntRange(0, 3).Draw(t, "step"))
		lsn = max(lsn, h.last+1)
		m.n++
		e := Entry{
			Key: testKey(rapid.IntRange(0, modelKeys-1).Draw(t, "key")), LSN: lsn,
			Kind: rapid.SampledFrom([]Kind{Image, Delta, Delta, Delta, Delta, InitDelta, Tombstone, Drop}).Draw(t, "kind"),
		}
		switch e.Kind {
		case Drop:
			e.End = testKey(rapid.IntRange(0, modelKeys).Draw(t, "end"))
			if e.Key.Compare(e.End) >= 0 {
				continue
			}
		case Tombstone:
		default:
			e.Value = fmt.Appendf(nil, "<%d>", m.n)
			if rapid.IntRange(0, 9).Draw(t, "size") == 0 {
				e.Value = append(e.Value, make([]byte, 90)...)
			}
		}
		b.Entries = append(b.Entries, e)
	}
	b.LSN = max(lsn, h.last+1)
	if err := tl.Put(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	h.entries = append(h.entries, b.Entries...)
	h.last = b.LSN
}

func (m *model) flush(t *rapid.T) {
	_, tl := m.pick(t)
	if err := tl.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if tl.FlushedLSN() != tl.LastLSN() {
		t.Fatalf("flushed %s, last %s", tl.FlushedLSN(), tl.LastLSN())
	}
}

func (m *model) compact(t *rapid.T) {
	_, tl := m.pick(t)
	if rapid.Bool().Draw(t, "all") {
		if err := tl.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
		return
	}
	for n := 0; ; n++ {
		done, err := tl.CompactIfWorthwhile(context.Background())
		if err != nil || n > 20 {
			t.Fatalf("after %d compactions: %v", n, err)
		}
		if !done {
			return
		}
	}
}

func (m *model) collect(t *rapid.T) {
	h, tl := m.pick(t)
	cutoff, err := tl.Collect(m.lsn(t, h))
	if err != nil {
		t.Fatal(err)
	}
	if cutoff < h.cutoff || cutoff > tl.FlushedLSN() {
		t.Fatalf("cutoff %s, was %s, flushed %s", cutoff, h.cutoff, tl.FlushedLSN())
	}
	h.cutoff = cutoff
}

func (m *model) pin(t *rapid.T) {
	h, tl := m.pick(t)
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	if rapid.Bool().Draw(t, "unpin") {
		if err := tl.Unpin(name); err != nil {
			t.Fatal(err)
		}
		delete(h.pins, name)
		return
	}
	lsn := m.lsn(t, h)
	own := h.readable(lsn) && lsn >= h.start
	if err := tl.Pin(context.Background(), name, lsn, time.Time{}); (err == nil) != own {
		t.Fatalf("pin %s: readable %v, got %v", lsn, own, err)
	} else if err == nil {
		h.pins[name] = lsn
	}
}

func (m *model) branch(t *rapid.T) {
	if len(m.all) >= 5 {
		t.Skip()
	}
	h, tl := m.pick(t)
	lsn := m.lsn(t, h)
	id := timelineID(len(m.all))
	child, err := m.s.Branch(context.Background(), tl.ID(), id, lsn)
	owner := h
	for owner.parent != nil && lsn <= owner.branch {
		owner = owner.parent
	}
	if (err == nil) != owner.readable(lsn) {
		t.Fatalf("branch at %s: readable %v, got %v", lsn, owner.readable(lsn), err)
	}
	if err != nil {
		return
	}
	owner.pins["branch "+id.String()] = lsn
	m.live = append(m.live, child)
	m.all = append(m.all, &history{parent: owner, branch: lsn, start: lsn, last: lsn, cutoff: lsn, pins: map[string]wal.LSN{}})
}

// reopen crashes: what is not flushed is lost, as the disk says.
func (m *model) reopen(t *rapid.T) {
	crashed := m.fs.CrashClone(vfs.CrashCloneCfg{})
	flushed := make([]wal.LSN, len(m.live))
	for i, tl := range m.live {
		flushed[i] = tl.FlushedLSN()
	}
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	m.fs = crashed
	var err error
	if m.s, err = Open(testDir, m.options()); err != nil {
		t.Fatal(err)
	}
	for i, h := range m.all {
		tl, err := m.s.Timeline(timelineID(i))
		if err != nil {
			t.Fatal(err)
		}
		if tl.FlushedLSN() != flushed[i] || tl.LastLSN() != flushed[i] || tl.CutoffLSN() != h.cutoff {
			t.Fatalf("reopened at %s, last %s, cutoff %s; expected %s, %s", tl.FlushedLSN(), tl.LastLSN(), tl.CutoffLSN(), flushed[i], h.cutoff)
		}
		m.live[i] = tl
		h.last = flushed[i]
		for len(h.entries) > 0 && h.entries[len(h.entries)-1].LSN > h.last {
			h.entries = h.entries[:len(h.entries)-1]
		}
	}
}

func (m *model) check(t *rapid.T) {
	h, tl := m.pick(t)
	for _, lsn := range []wal.LSN{h.last, m.lsn(t, h)} {
		if h.readable(lsn) {
			if err := h.check(tl, lsn, modelKeys); err != nil {
				t.Fatal(err)
			}
			continue
		}
		var v Value
		if err := tl.Get(context.Background(), testKey(0), lsn, &v); !errors.Is(err, ErrCollected) {
			t.Fatalf("get at %s, not readable: %v", lsn, err)
		}
	}
}

// The store answers as a plain list of entries does, whatever happens between.
func TestStoreAnswersAsAListDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		defer func() {
			if err := m.s.Close(); err != nil {
				t.Fatal(err)
			}
		}()
		t.Repeat(map[string]func(*rapid.T){
			"put": m.put, "put again": m.put, "put more": m.put, "flush": m.flush, "compact": m.compact, "collect": m.collect,
			"pin": m.pin, "branch": m.branch, "reopen": m.reopen, "": m.check,
		})
		for i, h := range m.all { // Everything, once at the end.
			for lsn := h.start; lsn <= h.last; lsn++ {
				if h.readable(lsn) {
					if err := h.check(m.live[i], lsn, modelKeys); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}
