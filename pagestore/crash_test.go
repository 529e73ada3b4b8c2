package pagestore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// crashes runs a fixed workload on a disk that is cloned, as if by a crash,
// before each operation that changes it. Each clone is opened and judged.
type crashes struct {
	t        *testing.T
	disk     *vfs.MemFS
	percents []int
	dice     *rand.Rand

	mu     sync.Mutex
	live   [2]*Timeline
	all    [2]*history // [1] is the branch, once asked for
	wanted bool        // the branch was acknowledged
	gone   bool        // its deletion was asked for
	pinned wal.LSN     // acknowledged
	cutoff wal.LSN     // asked for, perhaps not acknowledged
	judged int
	quiet  bool
	found  []error
}

func (c *crashes) crash(op, path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quiet || c.live[0] == nil {
		return
	}
	for _, percent := range c.percents {
		clone := c.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.dice})
		c.judged++
		if err := c.judge(clone); err != nil {
			c.found = append(c.found, fmt.Errorf("crash before %s of %s, %d%% of unsynced data: %w", op, path, percent, err))
		}
	}
}

// judge opens what the crash left: what was acknowledged must be there.
func (c *crashes) judge(disk *vfs.MemFS) error {
	promised := [2]wal.LSN{c.live[0].FlushedLSN()}
	if c.wanted && !c.gone {
		promised[1] = c.live[1].FlushedLSN()
	}
	c.quiet = true // The fail points are passed in judging too.
	defer func() { c.quiet = false }()
	s, err := Open(testDir, smallOptions(disk))
	if err != nil {
		return err
	}
	defer s.Close()
	for i := range c.all {
		tl, err := s.Timeline(timelineID(i))
		if err != nil {
			if promised[i] == 0 {
				continue
			}
			return err
		}
		if tl.FlushedLSN() < promised[i] {
			return fmt.Errorf("timeline %d: flushed up to %s, %s was promised", i, tl.FlushedLSN(), promised[i])
		}
		if tl.CutoffLSN() > c.cutoff && i == 0 {
			return fmt.Errorf("cutoff is %s, nobody asked for more than %s", tl.CutoffLSN(), c.cutoff)
		}
		for _, lsn := range []wal.LSN{tl.FlushedLSN(), max(tl.CutoffLSN(), tl.start)} {
			if err := c.all[i].check(tl, lsn, modelKeys); err != nil {
				return fmt.Errorf("timeline %d: %w", i, err)
			}
		}
		if err := tl.Verify(c.t.Context()); err != nil {
			return err
		}
		if i == 0 && c.pinned != 0 {
			if err := c.all[0].check(tl, c.pinned, modelKeys); err != nil {
				return fmt.Errorf("pin: %w", err)
			}
		}
	}
	return nil
}

func (c *crashes) locked(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// write puts n batches; some of them fill the memory and flush.
func (c *crashes) write(i, n int) {
	for range n {
		tl, h := c.live[i], c.all[i]
		lsn := tl.LastLSN() + 4
		e := Entry{Key: testKey(c.dice.IntN(modelKeys)), LSN: lsn, Kind: Delta, Value: fmt.Appendf(nil, "<%d>%s", lsn, bytes.Repeat([]byte{'x'}, c.dice.IntN(60)))}
		switch c.dice.IntN(8) {
		case 0:
			e.Kind = Image
		case 1:
			e.Kind, e.Value = Tombstone, nil
		case 2:
			e.Kind, e.End, e.Value = Drop, Key{0: 3, 22: 1}, nil
		}
		// The model first: a crash may come before Put returns.
		c.locked(func() { h.entries, h.last = append(h.entries, e), lsn })
		require.NoError(c.t, tl.Put(c.t.Context(), Batch{Entries: []Entry{e}, LSN: lsn}))
	}
}

func (c *crashes) run(o Options) {
	t := c.t
	s, err := Open(testDir, o)
	require.NoError(t, err)
	defer s.Close()
	tl, err := s.Create(timelineID(0), 100)
	require.NoError(t, err)
	c.locked(func() {
		c.all[0] = &history{start: 100, last: 100}
		c.live[0], c.cutoff = tl, 100
	})
	c.write(0, 60)
	require.NoError(t, tl.Flush(t.Context()))
	pin := tl.LastLSN() - 40
	require.NoError(t, tl.Pin(t.Context(), "pin", pin, time.Time{}))
	c.locked(func() { c.pinned = pin })
	at := tl.LastLSN() - 20
	c.locked(func() { c.all[1] = &history{parent: c.all[0], branch: at, start: at, last: at} })
	child, err := s.Branch(t.Context(), timelineID(0), timelineID(1), at)
	require.NoError(t, err)
	c.locked(func() { c.live[1], c.wanted = child, true })
	c.write(1, 30)
	c.write(0, 30)
	require.NoError(t, tl.Flush(t.Context()))
	require.NoError(t, child.Flush(t.Context()))
	c.locked(func() { c.cutoff = tl.LastLSN() - 12 })
	_, err = tl.Collect(c.cutoff)
	require.NoError(t, err)
	require.NoError(t, tl.Compact(t.Context()))
	require.NoError(t, child.Compact(t.Context()))
	c.write(0, 20)
	require.NoError(t, tl.Flush(t.Context()))
	c.locked(func() { c.gone = true })
	require.NoError(t, s.Delete(timelineID(1)))
	require.NoError(t, tl.Compact(t.Context()))
}

// A crash at any moment of making a branch leaves none, and no pin of it, or one whose
// past garbage collection keeps: the parent's pin comes before the branch.
func TestCrashWhileBranching(t *testing.T) {
	disk, dice := vfs.NewCrashableMem(), rand.New(rand.NewPCG(5, 7))
	var crashed []*vfs.MemFS
	crash := func(string, string) error {
		for _, percent := range []int{0, 100} {
			crashed = append(crashed, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: dice}))
		}
		return nil
	}
	fs := &hookFS{FS: disk, before: func(string, string) error { return nil }}
	s := mustOpen(t, smallOptions(fs))
	defer s.Close()
	root, err := s.Create(timelineID(0), 100)
	require.NoError(t, err)
	at := put(t, root, Entry{Key: testKey(1), Kind: Image, Value: []byte("old")})
	put(t, root, Entry{Key: testKey(1), Kind: Image, Value: []byte("new")})
	require.NoError(t, root.Flush(t.Context()))
	fs.before = crash
	_, err = s.Branch(t.Context(), timelineID(0), timelineID(1), at)
	require.NoError(t, err)
	require.NoError(t, crash("the branch was made", ""))

	made := 0
	for _, disk := range crashed {
		if branchKeepsItsPast(t, disk, at) {
			made++
		}
	}
	require.GreaterOrEqual(t, made, 2, "the acknowledged one is there")
	require.Less(t, made, len(crashed))
}

// branchKeepsItsPast opens what a crash left, collects garbage behind the branch point
// and says whether there is a branch, which has to read what it began with.
func branchKeepsItsPast(t *testing.T, disk *vfs.MemFS, at wal.LSN) bool {
	s := mustOpen(t, smallOptions(disk))
	defer func() { require.NoError(t, s.Close()) }()
	root, err := s.Timeline(timelineID(0))
	require.NoError(t, err)
	_, err = root.Collect(root.LastLSN())
	require.NoError(t, err)
	require.NoError(t, root.Compact(t.Context()))
	branch, err := s.Timeline(timelineID(1))
	if err != nil {
		require.ErrorIs(t, err, ErrNoTimeline)
		require.Empty(t, root.Pins())
		return false
	}
	var v Value
	require.NoError(t, branch.Get(t.Context(), testKey(1), at, &v))
	require.Equal(t, "old", string(v.Image))
	return true
}

func newCrashes(t *testing.T, seed uint64, percents ...int) *crashes {
	return &crashes{t: t, disk: vfs.NewCrashableMem(), dice: rand.New(rand.NewPCG(seed, 7)), percents: percents}
}

func TestCrashBeforeEachOperation(t *testing.T) {
	c := newCrashes(t, 1, 0, 50, 100)
	fs := &hookFS{FS: c.disk, before: func(op, path string) error { c.crash(op, path); return nil }}
	c.run(smallOptions(fs))
	require.NoError(t, errors.Join(c.found...))
	require.Greater(t, c.judged, 300)
	t.Logf("%d crashes judged", c.judged)
}

// With a protection switched off, the same test must object.
func TestCrashTestNoticesMissingFsync(t *testing.T) {
	for name, lie := range map[string]func(path string) bool{
		"layer":  isLayer,
		"index":  isIndex,
		"folder": isFolder,
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrashes(t, 2, 0)
			fs := &hookFS{FS: c.disk, lie: lie, before: func(op, path string) error { c.crash(op, path); return nil }}
			c.run(smallOptions(fs))
			require.NotEmpty(t, c.found)
		})
	}
}

// The wrong order: the index is durable before the layers that it names, which
// reach the disk right after it. The test must notice the moment between.
func TestCrashTestNoticesIndexBeforeLayers(t *testing.T) {
	c := newCrashes(t, 3, 0)
	var late []string // layers whose fsync has been put off
	fs := &hookFS{FS: c.disk}
	fs.lie = func(path string) bool {
		if isLayer(path) {
			late = append(late, path)
		}
		return isLayer(path)
	}
	fs.before = func(op, path string) error {
		c.crash(op, path)
		if op == "remove" && isIndex(path) { // The index has been published.
			for _, layer := range late {
				f, err := c.disk.OpenReadWrite(layer, writeCategory)
				if err == nil {
					require.NoError(t, errors.Join(f.Sync(), f.Close()))
				}
			}
			late = nil
		}
		return nil
	}
	o := smallOptions(fs)
	o.FlushWriters = 1 // No two fsyncs at a time.
	c.run(o)
	require.NotEmpty(t, c.found)
}

func TestCrashAtEachFailPoint(t *testing.T) {
	invariant.Require(t)
	c := newCrashes(t, 4, 0, 100)
	for _, point := range points {
		invariant.OnPoint(t, point, func(int) {
			if !c.mu.TryLock() {
				return // Judging passes the points too.
			}
			c.mu.Unlock()
			c.crash("fail point", point)
		})
	}
	before := invariant.Hits()
	c.run(smallOptions(c.disk))
	require.NoError(t, errors.Join(c.found...))
	for _, point := range points {
		require.Greater(t, invariant.Hits()[point], before[point], "%s was never passed", point)
	}
}
