package walstore

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// sparseStore has two files whose zeroes were allocated and not written: the open
// segment, which is half full, and the prepared one.
func sparseStore(t *testing.T, fs vfs.FS) (*Store, *generator) {
	t.Helper()
	s := create(t, Options{FS: fs, AllocateWithin: time.Hour})
	g := newGenerator()
	for range 3 {
		g.record(int(testSegment)/2, 1)
		push(t, s, g)
		s.background.Wait()
	}
	return s, g
}

// small appends a little once WAL does not come fast any more.
func small(t *testing.T, s *Store, g *generator) {
	t.Helper()
	s.calmAfter = 0
	g.record(100, 1)
	push(t, s, g)
	s.background.Wait()
}

// failing is a file system that answers operations of a kind with an error while that
// is set.
func failing(kind errorfs.OpKind, path string, err error) (vfs.FS, *atomic.Bool) {
	var on atomic.Bool
	return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && op.Kind == kind && strings.HasSuffix(op.Path, path) {
			return err
		}
		return nil
	})), &on
}

// Once WAL comes slowly again all zeroes that were only allocated are written, those of
// the open segment behind what is there, by one append after the other.
func TestAllocatedZeroesAreWrittenInTheEnd(t *testing.T) {
	var zeroed atomic.Int32
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt && strings.HasSuffix(op.Path, preparedName) {
			zeroed.Add(1) // Both files had the name once.
		}
		return nil
	}))
	s := create(t, Options{FS: fs, AllocateWithin: time.Hour})
	defer shut(t, s)
	g := newGenerator()
	var want []byte
	add := func(n int) {
		g.record(n, 1)
		at, b := g.take()
		want = append(want, b...)
		require.NoError(t, s.Append(g.tli, at, b))
		s.background.Wait()
	}
	for range 3 { // The second segment was prepared while the first one filled.
		add(int(testSegment) / 2)
	}
	require.True(t, s.tail.sparse)
	require.True(t, s.prep.sparse)
	s.calmAfter = 0
	zeroed.Store(0)
	appends := int32(0)
	for ; s.tail.sparse; appends++ {
		add(100)
		require.Less(t, appends, int32(testSegment/chunkSize))
	}
	require.False(t, s.prep.sparse)
	require.Equal(t, int32(testSegment/chunkSize)+2*appends, zeroed.Load())
	add(100)
	require.Equal(t, int32(testSegment/chunkSize)+2*appends+1, zeroed.Load(), "no more of them")
	require.Equal(t, want, stored(t, s))
	require.NoError(t, s.Sync())
	end := int(s.size.Offset(g.pos))
	f, err := fs.Open(s.d.path(segment{segmentKey: s.tail.segmentKey, partial: true}.name(s.size)))
	require.NoError(t, err)
	content, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, want[len(want)-end:], content[:end])
	require.Equal(t, make([]byte, int(testSegment)-end), content[end:])
}

// Where WAL comes fast, the next segment's zeroes are not written. It reads as any
// other.
func TestZeroesAreAllocated(t *testing.T) {
	for _, c := range []struct {
		within time.Duration
		writes int32
	}{{0, int32(testSegment/chunkSize) + 1}, {time.Hour, 2}} { // One is of WAL, to the file that had the name before.
		var writes atomic.Int32
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileWriteAt && strings.HasSuffix(op.Path, preparedName) {
				writes.Add(1)
			}
			return nil
		}))
		s := create(t, Options{FS: fs, AllocateWithin: c.within})
		g := newGenerator()
		g.record(100, 1)
		push(t, s, g) // Makes the first segment, and writes it in full.
		writes.Store(0)
		g.record(int(testSegment)/2, 1)
		push(t, s, g)
		s.background.Wait()
		require.Equal(t, c.writes, writes.Load())
		f, err := fs.Open(s.d.path(preparedName))
		require.NoError(t, err)
		content, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Equal(t, make([]byte, testSegment), content)
		shut(t, s)
	}
}

// A prepared file stays as it was while there is no room for its zeroes, and goes when
// the disk fails.
func TestPreparedFileStaysWithoutRoom(t *testing.T) {
	fs, full := failing(errorfs.OpFileWriteAt, preparedName, syscall.ENOSPC)
	s, g := sparseStore(t, fs)
	defer shut(t, s)
	s.tail.sparse = false // Only the prepared one is to be written to.
	old := s.prep.ready
	full.Store(true)
	err := s.d.writeAt(old, zeroes[:1], 0, pointSegmentZero)
	require.ErrorIs(t, err, syscall.ENOSPC)
	f, sparse, err := s.prepare(old, false)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.True(t, sparse)
	require.Equal(t, old, f)
	full.Store(false)
	small(t, s, g)
	require.Equal(t, old, s.prep.ready)
	require.False(t, s.prep.sparse, "room again")

	fs, bad := failing(errorfs.OpFileSync, preparedName, syscall.EIO)
	broken, _ := sparseStore(t, fs)
	defer shut(t, broken)
	old, broken.prep.ready = broken.prep.ready, nil
	bad.Store(true)
	f, _, err = broken.prepare(old, false)
	require.ErrorIs(t, err, syscall.EIO)
	require.Nil(t, f)
	_, err = fs.Stat(broken.d.path(preparedName))
	require.True(t, isNotExist(err), "what a failed fsync leaves is not known")
}

// Near its segment's end nobody is to wait for the zeroes of the next one.
func TestPreparedFileIsTakenAsItIsNearTheEnd(t *testing.T) {
	s, g := sparseStore(t, vfs.NewMem())
	defer shut(t, s)
	left := int(testSegment) - int(s.size.Offset(g.pos))
	g.record(left*3/4, 1)
	push(t, s, g)
	small(t, s, g)
	require.True(t, s.prep.sparse)
	stalled := s.Positions().Write
	g.record(left, 1)
	push(t, s, g)
	require.Greater(t, s.Positions().Write, stalled)
	require.True(t, s.tail.sparse, "it is what was prepared")
}

// noAllocation is a file system that cannot allocate.
type noAllocation struct{ vfs.FS }

func (fs noAllocation) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.OpenReadWrite(name, c, o...)
	return fileWithout{f}, err
}

type fileWithout struct{ vfs.File }

func (fileWithout) Preallocate(int64, int64) error { return errors.ErrUnsupported }

func TestZeroesAreWrittenOnceWhereNothingIsAllocated(t *testing.T) {
	s, g := sparseStore(t, noAllocation{vfs.NewMem()})
	defer shut(t, s)
	require.False(t, s.tail.sparse)
	require.False(t, s.prep.sparse)
	small(t, s, g)
	require.Zero(t, s.tail.zeroed)
}

// Unsynced WAL that had to be rewritten is in a file that was written in full.
func TestRepairedFileIsNotSparse(t *testing.T) {
	fs, full := failing(errorfs.OpFileSyncData, "", syscall.ENOSPC)
	s, _ := sparseStore(t, fs)
	defer shut(t, s)
	require.True(t, s.tail.sparse)
	full.Store(true)
	require.ErrorIs(t, s.Sync(), ErrDiskFull)
	full.Store(false)
	require.NoError(t, s.Sync())
	require.False(t, s.tail.sparse)
}
