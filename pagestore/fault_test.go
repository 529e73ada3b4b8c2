package pagestore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// Each write operation of a flush, a compaction and a pin fails once. Nothing is
// promised that is not there, what was promised stays readable, and opening the
// store again goes on.
func TestEachWriteFailsOnce(t *testing.T) {
	for n := int32(0); ; n++ {
		mem := vfs.NewCrashableMem()
		h := &history{start: 100, last: 100, cutoff: 100}
		s := mustOpen(t, smallOptions(mem))
		tl, err := s.Create(timelineID(0), 100)
		require.NoError(t, err)
		for i := range 30 {
			e := Entry{Key: testKey(i % 5), Kind: Delta, Value: []byte{byte('a' + i%26)}}
			e.LSN = put(t, tl, e)
			h.entries, h.last = append(h.entries, e), e.LSN
		}
		require.NoError(t, tl.Flush(t.Context()))
		require.NoError(t, s.Close())

		index := errorfs.OnIndex(n)
		toggle := errorfs.Toggle{Injector: errorfs.ErrInjected.If(errorfs.And(errorfs.Writes, index))}
		s = mustOpen(t, smallOptions(errorfs.Wrap(mem, &toggle)))
		tl, err = s.Timeline(timelineID(0))
		require.NoError(t, err)
		toggle.On()
		var failures []error
		for i := range 10 {
			e := Entry{Key: testKey(i % 3), Kind: Delta, Value: []byte{byte('A' + i)}}
			e.LSN = put(t, tl, e)
			h.entries, h.last = append(h.entries, e), e.LSN
		}
		failures = append(failures, tl.Flush(t.Context()), tl.Compact(t.Context()), tl.Pin(t.Context(), "p", tl.FlushedLSN(), time.Time{}))
		_, err = tl.Collect(tl.FlushedLSN())
		failures = append(failures, err, tl.Compact(t.Context()))
		fired := index.Index.Load() < 0
		toggle.Off()

		require.NoError(t, h.check(tl, h.last, 6), "operation %d", n)
		// What failed before the index was in doubt may be tried again.
		if tl.Err() == nil {
			require.NoError(t, tl.Flush(t.Context()), "operation %d", n)
			require.Equal(t, h.last, tl.FlushedLSN())
			names, err := mem.List(tl.dir)
			require.NoError(t, err)
			layers := slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, layerSuffix) })
			if errors.Join(failures...) != nil { // Otherwise a removal failed: the next Open sweeps.
				require.Len(t, layers, tl.Info().Layers, "operation %d leaves garbage", n)
			}
		} else {
			require.ErrorIs(t, tl.Err(), ErrUnsure)
			require.Error(t, tl.Put(t.Context(), Batch{LSN: h.last + 1}))
		}
		promised := tl.FlushedLSN()
		require.NoError(t, s.Close())

		crashed := mustOpen(t, smallOptions(mem.CrashClone(vfs.CrashCloneCfg{})))
		tl, err = crashed.Timeline(timelineID(0))
		require.NoError(t, err)
		require.GreaterOrEqual(t, tl.FlushedLSN(), promised, "operation %d", n)
		require.NoError(t, h.check(tl, tl.FlushedLSN(), 6), "operation %d", n)
		require.NoError(t, crashed.Close())
		if !fired {
			require.NoError(t, errors.Join(failures...))
			require.Greater(t, n, int32(20), "too few operations were tried")
			return
		}
	}
}

// A read that the file system refuses is no damage.
func TestFailedReadIsNoCorruption(t *testing.T) {
	mem := vfs.NewMem()
	toggle := errorfs.Toggle{Injector: errorfs.ErrInjected.If(errorfs.Reads)}
	s := mustOpen(t, smallOptions(errorfs.Wrap(mem, &toggle)))
	defer s.Close()
	tl, err := s.Create(timelineID(0), 100)
	require.NoError(t, err)
	put(t, tl, Entry{Key: testKey(1), Kind: Image, Value: []byte("page")})
	require.NoError(t, tl.Flush(t.Context()))
	toggle.On()
	var v Value
	err = tl.Get(t.Context(), testKey(1), tl.LastLSN(), &v)
	toggle.Off()
	require.ErrorContains(t, err, "injected error")
	var damage *CorruptionError
	require.NotErrorAs(t, err, &damage)
	require.ErrorIs(t, err, ErrIO)
	require.False(t, v.Found())
	require.NoError(t, tl.Get(t.Context(), testKey(1), tl.LastLSN(), &v))
}

// A full store makes Put wait for a disk that does not answer, until its context
// ends; memory stays bounded.
func TestPutWaitsAndIsBounded(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{}, 100)
	block := false
	fs := &hookFS{FS: vfs.NewMem()}
	fs.before = func(op, path string) error {
		if block && op == "sync" && isLayer(path) {
			held <- struct{}{}
			<-hold
		}
		return nil
	}
	o := smallOptions(fs)
	o.FlushWriters = 1
	s := mustOpen(t, o)
	defer s.Close()
	tl, err := s.Create(timelineID(0), 100)
	require.NoError(t, err)
	block = true
	flushed := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for lsn := tl.LastLSN() + 1; ; lsn++ {
		if tl.Info().MemoryBytes >= 2*o.MemLayerSize { // One frozen, one full: the next put must wait.
			break
		}
		require.NoError(t, tl.Put(ctx, Batch{Entries: []Entry{{Key: testKey(int(lsn) % 9), LSN: lsn, Kind: Image, Value: make([]byte, 200)}}, LSN: lsn}))
	}
	go func() { flushed <- tl.Flush(t.Context()) }()
	<-held
	refused := make(chan error, 1)
	last := tl.LastLSN()
	go func() { refused <- tl.Put(ctx, Batch{LSN: last + 1}) }()
	cancel()
	err = <-refused
	if err != nil {
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, last, tl.LastLSN())
	}
	require.Less(t, tl.Info().MemoryBytes, 3*o.MemLayerSize)
	close(hold)
	require.NoError(t, <-flushed)
}
