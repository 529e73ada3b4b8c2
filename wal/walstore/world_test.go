package walstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// world runs a workload on a disk that is cloned as if by a crash before each
// operation that changes it.
type world struct {
	t         testing.TB
	o         Options
	k         oracle
	disk      *vfs.MemFS
	rng       *rand.Rand
	dice      *rand.Rand // of crashes; they may happen in any goroutine, one at a time
	percents  []int
	judging   sync.Mutex // held while a crash is judged; guards the next four
	quiet     bool
	crashes   int
	found     []error // what the oracle objected to
	s         *Store
	g         *generator
	seq       []byte // WAL appended so far, from testStart
	state     string
	states    int       // made so far
	tlis      int       // made so far
	live      []wal.LSN // ends of the records of seq
	hook      func()
	sparse    int  // judge one crash in so many
	reentrant bool // the hooks see judging itself too
	passed    int
	h         wal.TimelineHistory
}

func newWorld(t testing.TB, seed uint64, percents ...int) *world {
	w := &world{
		t: t, disk: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 1)), dice: rand.New(rand.NewPCG(seed, 2)), percents: percents,
		g: newGenerator(), state: "state 0", h: wal.TimelineHistory{Last: 1},
	}
	first := testSegment.SegmentStart(testStart)
	w.k.allowed = map[string][]byte{w.state: nil}
	w.k.history = map[string]wal.TimelineHistory{w.state: w.h}
	w.k.ends = map[wal.LSN]wal.LSN{testStart: testStart - 64}
	w.k.oldest = wal.Range{Start: first, End: first}
	return w
}

// crash judges what a crash at this moment would leave.
func (w *world) crash(disk *vfs.MemFS, at string) {
	if !w.judging.TryLock() {
		if w.reentrant {
			return // Recovery of what a crash left passes the same fail points.
		}
		w.judging.Lock()
	}
	defer w.judging.Unlock()
	w.passed++
	if w.quiet || w.sparse > 0 && w.passed%w.sparse != 0 {
		return
	}
	for _, percent := range w.percents {
		w.crashes++
		clone := func() *vfs.MemFS {
			return disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: w.dice})
		}
		if err := w.k.judge(clone); err != nil {
			w.found = append(w.found, fmt.Errorf("crash before %s, %d%% of unsynced data: %w", at, percent, err))
		}
	}
}

// hookOperations crashes before each operation that changes the disk.
func (w *world) hookOperations() {
	w.hook = func() {
		disk := w.disk
		w.o.FS = errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				w.crash(disk, fmt.Sprintf("operation %d on %s", op.Kind, op.Path))
			}
			return nil
		}))
	}
	w.hook()
}

// expect changes the oracle.
func (w *world) expect(f func(k *oracle)) {
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	f(&w.k)
}

func (w *world) create() {
	s, err := Create(testDir, testControl(), w.o)
	require.NoError(w.t, err)
	w.expect(func(k *oracle) { k.created = true })
	w.s = s
	require.NoError(w.t, s.SynthesizePrefix())
}

func (w *world) append() {
	w.s.calmAfter = time.Hour
	if len(w.seq)>>19%3 == 2 { // By turns at each place in a segment.
		w.s.calmAfter = 0
	}
	at, b := w.g.take()
	w.seq = append(w.seq[:at-testStart:at-testStart], b...)
	w.expect(func(k *oracle) { k.allowed[w.state] = w.seq })
	require.NoError(w.t, w.s.Append(w.g.tli, at, b))
}

func (w *world) sync() {
	require.NoError(w.t, w.s.Sync())
	p := w.s.Positions()
	w.expect(func(k *oracle) { k.must = p.FlushRecord })
}

// note tells the oracle of a record.
func (w *world) note(start, end wal.LSN) {
	w.expect(func(k *oracle) { k.ends[end] = start })
	w.live = append(w.live, end)
}

// record appends a record.
func (w *world) record(n int) {
	w.note(w.g.record(n, byte(w.rng.IntN(256))))
	w.append()
}

func (w *world) switchSegment() {
	w.note(w.g.switchSegment())
	w.append()
}

// save persists a new state that may stand beside the WAL as it is now.
func (w *world) save(state string, h wal.TimelineHistory) {
	w.expect(func(k *oracle) { k.allowed[state], k.history[state] = w.seq, h })
	require.NoError(w.t, w.s.SaveControl(func(c *Control) { c.State, c.History = []byte(state), h }))
	w.expect(func(k *oracle) {
		if old := w.state; old != state {
			delete(k.allowed, old)
		}
	})
	w.state, w.h = state, h
}

// elect does what a new term does: cut to a record end, then save.
func (w *world) elect(to wal.LSN, h wal.TimelineHistory) {
	w.expect(func(k *oracle) { k.must = min(k.must, to) })
	require.NoError(w.t, w.s.Truncate(to, h))
	w.seq = w.seq[: to-testStart : to-testStart]
	w.expect(func(k *oracle) { k.allowed[w.state], k.must = w.seq, to })
	w.save(w.nextState(), h)
	w.resume(to)
}

func (w *world) nextState() string {
	w.states++
	return fmt.Sprintf("state %d", w.states)
}

// resume has the generator go on at the record end to.
func (w *world) resume(to wal.LSN) {
	w.live = slices.DeleteFunc(w.live, func(end wal.LSN) bool { return end > to })
	w.g = &generator{tli: w.h.Last, pos: to, prev: w.k.ends[to]}
}

func (w *world) remove(before wal.LSN) {
	p := w.s.Positions()
	if p.FlushRecord <= testStart {
		return
	}
	limit := testSegment.SegmentStart(min(before, p.FlushRecord-1))
	w.expect(func(k *oracle) { k.oldest.End = max(k.oldest.End, limit) })
	_, err := w.s.RemoveBefore(before)
	require.NoError(w.t, err)
	w.expect(func(k *oracle) { k.oldest.Start = k.oldest.End })
}

// reopen closes in order and opens.
func (w *world) reopen() {
	require.NoError(w.t, w.s.Close())
	w.open()
}

func (w *world) open() {
	s, err := Open(testDir, w.o)
	require.NoError(w.t, err)
	w.s = s
	end := s.Positions().Write
	if end < testStart {
		require.NoError(w.t, s.SynthesizePrefix())
		end = testStart
	}
	w.seq = w.seq[: end-testStart : end-testStart]
	w.expect(func(k *oracle) { k.allowed[w.state], k.must = w.seq, s.Positions().FlushRecord })
	w.resume(end)
}

// lose crashes in earnest and goes on with what is left.
func (w *world) lose(percent int) {
	next := w.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: w.rng})
	w.quietly(func() { _ = w.s.Close() })
	w.disk = next
	w.hook()
	w.open()
}

// quietly does something that is no part of the story.
func (w *world) quietly(f func()) {
	set := func(quiet bool) {
		w.judging.Lock()
		defer w.judging.Unlock()
		w.quiet = quiet
	}
	set(true)
	f()
	set(false)
}

func (w *world) requireSound() {
	w.t.Helper()
	for i, err := range w.found {
		if i < 5 {
			w.t.Error(err)
		}
	}
	require.Empty(w.t, w.found, "objections of %d crashes", w.crashes)
}
