package walstore

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// faults fails one operation of those that match.
type faults struct {
	match  func(errorfs.Op) bool
	nth    int64 // 0: none
	err    error
	passed atomic.Int64
}

func (f *faults) wrap(disk vfs.FS) vfs.FS {
	return errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if f.match(op) && f.passed.Add(1) == f.nth {
			return f.err
		}
		return nil
	}))
}

// stride is 1: each operation fails in turn. The race detector is slow.
func stride() int64 {
	if invariant.Enabled {
		return 5
	}
	return 1
}

func writes(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite }

// short is a life of every kind of change. It stops at the first error and
// returns what was acknowledged.
func short(s *Store) (acked wal.LSN, wrote []byte, err error) {
	if err := s.SynthesizePrefix(); err != nil {
		return 0, nil, err
	}
	g := newGenerator()
	step := func(n int) error {
		g.record(n, byte(n))
		at, b := g.take()
		wrote = append(wrote, b...)
		if err := s.Append(1, at, b); err != nil {
			return err
		}
		if err := s.Sync(); err != nil {
			return err
		}
		acked = s.Positions().FlushRecord
		return nil
	}
	for _, n := range []int{300, 900_000, 400_000, 200} {
		if err := step(n); err != nil {
			return acked, wrote, err
		}
	}
	if err := s.SaveControl(func(c *Control) { c.State = []byte("new") }); err != nil {
		return acked, wrote, err
	}
	to, prev := g.pos, g.prev
	if err := step(800_000); err != nil {
		return acked, wrote, err
	}
	acked = to
	if err := s.Truncate(to, wal.TimelineHistory{Last: 1}); err != nil {
		return acked, wrote, err
	}
	g.pos, g.prev, wrote = to, prev, wrote[:to-testStart]
	return acked, wrote, step(100_000)
}

// TestEveryFailedOperation fails the n-th operation that changes the disk, for
// each n: whatever was acknowledged before is there after the next Open, and a
// store that reported a failure takes nothing until then.
func TestEveryFailedOperation(t *testing.T) {
	fenced, total := 0, 0
	for n := int64(1); ; n += stride() {
		disk := vfs.NewCrashableMem()
		f := &faults{match: writes, nth: n, err: syscall.EIO}
		o := Options{FS: f.wrap(disk)}
		var acked wal.LSN
		var wrote []byte
		s, err := Create(testDir, testControl(), o)
		if err == nil {
			acked, wrote, err = short(s)
			if s.Fenced() != nil {
				fenced++
				requireFenced(t, s)
			}
			_ = s.Close() // It may be what fails.
		}
		if f.passed.Load() < n {
			require.NoError(t, err)
			break
		}
		total++
		// The process restarts: the page cache still shows what the disk may lack.
		if s == nil {
			continue
		}
		s, err = Open(testDir, Options{FS: disk})
		require.NoError(t, err, "after operation %d failed", n)
		seen := s.Positions().FlushRecord
		require.GreaterOrEqual(t, seen, acked, "after operation %d failed", n)
		// Then the machine crashes: what Open reported must be there.
		disk = disk.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, s.Close())
		s, err = Open(testDir, Options{FS: disk})
		require.NoError(t, err, "after operation %d failed", n)
		require.GreaterOrEqual(t, s.Positions().FlushRecord, seen, "after operation %d failed", n)
		if acked > testStart {
			require.True(t, bytes.Equal(wrote[:acked-testStart], stored(t, s)[:acked-testStart]), "after operation %d failed", n)
		}
		there, err := s.d.exists(fencedName)
		require.NoError(t, err)
		require.False(t, there, "the mark goes when recovery is durable")
		require.NoError(t, s.Close())
	}
	t.Logf("%d operations failed in turn, %d of them fenced the store", total, fenced)
	require.Greater(t, fenced, 5)
}

func requireFenced(t *testing.T, s *Store) {
	t.Helper()
	p := s.Positions()
	require.ErrorIs(t, s.Fenced(), ErrFenced)
	require.ErrorIs(t, s.Fenced(), syscall.EIO)
	require.ErrorIs(t, s.Append(1, p.Write, []byte{0}), ErrFenced)
	require.ErrorIs(t, s.Sync(), ErrFenced)
	require.ErrorIs(t, s.SaveControl(nil), ErrFenced)
	require.ErrorIs(t, s.Truncate(p.FlushRecord, wal.TimelineHistory{Last: 1}), ErrFenced)
	_, err := s.RemoveBefore(p.FlushRecord)
	require.ErrorIs(t, err, ErrFenced)
	require.Equal(t, p, s.Positions())
	require.Equal(t, 1, int(testutil.ToFloat64(s.d.m.fenced)))
}

// TestFailedSyncFences is the case that matters most: the kernel reports a lost
// write once, and a second fsync would succeed.
func TestFailedSyncFences(t *testing.T) {
	disk := vfs.NewCrashableMem()
	f := &faults{match: func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSyncData }, err: syscall.EIO}
	s := create(t, Options{FS: f.wrap(disk)})
	g := newGenerator()
	g.record(100, 1)
	push(t, s, g)
	require.NoError(t, s.Sync())
	before := s.Positions()
	g.record(100, 2)
	push(t, s, g)
	f.nth = f.passed.Load() + 1
	require.ErrorIs(t, s.Sync(), ErrFenced)
	require.Equal(t, before.FlushRecord, s.Positions().FlushRecord)
	require.ErrorIs(t, s.Sync(), ErrFenced, "a second fsync must not be believed")
	there, err := s.d.exists(fencedName)
	require.NoError(t, err)
	require.True(t, there)
	require.ErrorIs(t, s.Close(), ErrFenced)

	s = open(t, Options{FS: disk})
	require.Equal(t, g.pos, s.Positions().FlushRecord, "the bytes were readable and have been rewritten")
	shut(t, open(t, Options{FS: disk.CrashClone(vfs.CrashCloneCfg{})}))
	shut(t, s)
}

// TestNothingIsCutWhileTheWatermarkIsInDoubt: while a truncation waits for a save of
// the watermark, that save fails behind its rename. The control file may claim the
// WAL that the truncation would remove.
func TestNothingIsCutWhileTheWatermarkIsInDoubt(t *testing.T) {
	disk := vfs.NewCrashableMem()
	var store atomic.Pointer[Store]
	var saving atomic.Bool
	renamed := make(chan struct{})
	s := create(t, Options{FS: errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		s := store.Load()
		switch {
		case s == nil:
		case op.Kind == errorfs.OpRename && strings.HasSuffix(op.Path, ControlFileName+tmpSuffix):
			saving.Store(true)
		case op.Kind == errorfs.OpFileSync && op.Path == testDir && saving.Swap(false):
			before := s.Positions()
			close(renamed)
			for s.Positions() == before {
				runtime.Gosched() // until the truncation has begun
			}
			return syscall.EIO
		}
		return nil
	}))})
	g := newGenerator()
	g.record(500_000, 1)
	push(t, s, g)
	require.NoError(t, s.Sync())
	to := g.pos
	store.Store(s) // From now on the watermark is saved when a segment is complete.
	g.record(1_000_000, 2)
	push(t, s, g)
	require.NoError(t, s.Sync())
	end := s.Positions().FlushRecord
	<-renamed
	require.ErrorIs(t, s.Truncate(to, wal.TimelineHistory{Last: 1}), ErrFenced)
	require.ErrorIs(t, s.Close(), ErrFenced)
	s = open(t, Options{FS: disk})
	require.Equal(t, end, s.Positions().FlushRecord, "nothing was cut")
	shut(t, s)
}

// TestFullDisk fails operations for lack of space, from the n-th one on until
// the caller has seen it; then space returns and the same call succeeds.
func TestFullDisk(t *testing.T) {
	seen := 0
	for n := int64(1); ; n += stride() {
		disk := vfs.NewCrashableMem()
		var armed, full, hit atomic.Bool
		var passed atomic.Int64
		o := Options{FS: errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			switch op.Kind {
			case errorfs.OpFileWriteAt, errorfs.OpFileSyncData, errorfs.OpCreate, errorfs.OpOpen:
			case errorfs.OpFileSync:
				if op.Path == testDir {
					return nil // Folders are synced after the space was taken.
				}
			default:
				return nil
			}
			if !armed.Load() {
				return nil
			}
			if passed.Add(1) == n {
				full.Store(true)
			}
			if full.Load() && op.Kind != errorfs.OpOpen {
				hit.Store(true)
				return &errorOnPath{op.Path, syscall.ENOSPC}
			}
			return nil
		}))}
		s := create(t, Options{FS: disk})
		shut(t, s)
		s = open(t, o)
		armed.Store(true)
		err := insist(s, &full, &seen)
		require.NoError(t, err, "full from operation %d on", n)
		armed.Store(false)
		shut(t, s)
		s = open(t, Options{FS: disk.CrashClone(vfs.CrashCloneCfg{})})
		all := newGenerator()
		for i := range 6 {
			all.record(400_000, byte(i))
		}
		_, want := all.take()
		require.True(t, bytes.Equal(want, stored(t, s)), "full from operation %d on", n)
		shut(t, s)
		if !hit.Load() {
			break
		}
	}
	t.Logf("a full disk was reported %d times", seen)
	require.Greater(t, seen, 5)
}

type errorOnPath struct {
	path string
	err  error
}

func (e *errorOnPath) Error() string { return e.path + ": " + e.err.Error() }
func (e *errorOnPath) Unwrap() error { return e.err }

// insist appends and saves, and repeats what the full disk refused.
func insist(s *Store, full *atomic.Bool, seen *int) error {
	try := func(f func() error) error {
		err := f()
		if errors.Is(err, ErrDiskFull) {
			*seen++
			if again := f(); !errors.Is(again, ErrDiskFull) {
				return fmt.Errorf("still full, but got: %w", again)
			}
			full.Store(false)
			err = f()
		}
		return err
	}
	if err := try(s.SynthesizePrefix); err != nil {
		return err
	}
	g := newGenerator()
	for i := range 6 {
		g.record(400_000, byte(i))
		at, b := g.take()
		if err := try(func() error {
			w := s.Positions().Write
			return s.Append(1, w, b[w-at:])
		}); err != nil {
			return fmt.Errorf("append: %w", err)
		}
		if err := try(s.Sync); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		if err := try(func() error { return s.SaveControl(func(c *Control) { c.State = []byte{byte(i)} }) }); err != nil {
			return fmt.Errorf("save: %w", err)
		}
	}
	if p := s.Positions(); p.FlushRecord != g.pos {
		return fmt.Errorf("flushed up to %s instead of %s", p.FlushRecord, g.pos)
	}
	return s.Fenced()
}

// A process may be killed between the rename that makes a timeline and the sync
// of the folder above. Open makes up for it: what is acknowledged afterwards must
// not be in a folder that a crash takes away.
func TestOpenMakesTheFoldersNameDurable(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s, err := Create(testDir, testControl(), Options{FS: disk})
	require.NoError(t, err)
	shut(t, s)
	require.NoError(t, disk.Rename(testDir, testDir+"2"))
	s, err = Open(testDir+"2", Options{FS: disk})
	require.NoError(t, err)
	crashed := disk.CrashClone(vfs.CrashCloneCfg{})
	shut(t, s)
	s, err = Open(testDir+"2", Options{FS: crashed})
	require.NoError(t, err)
	shut(t, s)
}
