package pagestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

const (
	chainDelta = 32 // bytes of a change
	chainLimit = 4 << 10
)

// chainStore has one key that was changed n times, by batches of so many changes.
func chainStore(t *testing.T, o Options, n, batch int) *Timeline {
	t.Helper()
	o.FS, o.MaxChainSize = vfs.NewMem(), chainLimit
	// Each change is one byte of the value, so that the value tells how many there were.
	o.Materialize = func(_ context.Context, _ Key, _ wal.LSN, v *Value) ([]byte, error) { return counted(v), nil }
	s := mustOpen(t, o)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	tl, err := s.Create(timelineID(0), 100)
	require.NoError(t, err)
	put(t, tl, Entry{Key: testKey(1), Kind: Image, Value: []byte{0, 0, 0, 0}})
	for n > 0 {
		var b Batch
		for range min(n, batch) {
			b.LSN = max(b.LSN, tl.LastLSN()) + 8
			b.Entries = append(b.Entries, Entry{Key: testKey(1), LSN: b.LSN, Kind: Delta, Value: make([]byte, chainDelta)})
		}
		require.NoError(t, tl.Put(t.Context(), b))
		n -= len(b.Entries)
	}
	return tl
}

// counted is how many changes a value has had, as 4 bytes.
func counted(v *Value) []byte {
	n := len(v.Deltas)
	for i, b := range v.Image {
		n += int(b) << (8 * i)
	}
	return []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}
}

// requireShort reads at each change and finds all changes, but few above an image.
func requireShort(t *testing.T, tl *Timeline, what string, n, most int) {
	t.Helper()
	first := tl.LastLSN() - wal.LSN(8*n)
	var v Value
	for i := range n + 1 {
		require.NoError(t, tl.Get(t.Context(), testKey(1), first+wal.LSN(8*i), &v))
		require.Equal(t, []byte{byte(i), byte(i >> 8), 0, 0}, counted(&v), "%s, after %d changes", what, i)
		require.LessOrEqual(t, len(v.Deltas), most, "%s, after %d changes", what, i)
	}
}

// TestHotKeyHasShortChains: one key is changed again and again with nobody making an
// image of it, as a page is between two checkpoints. Wherever its changes are, a
// read at any LSN goes through a bounded number of them.
func TestHotKeyHasShortChains(t *testing.T) {
	const changes, batch = 3000, 50
	long := chainLimit/int(deltaWeight(chainDelta)) + 1
	tl := chainStore(t, Options{CompactRuns: 100}, changes, batch)
	requireShort(t, tl, "in memory", changes, long+batch)
	require.NoError(t, tl.Flush(t.Context()))
	requireShort(t, tl, "flushed", changes, long+batch)
	require.NoError(t, tl.Compact(t.Context()))
	requireShort(t, tl, "merged", changes, long+batch)
}

// Who has the value as it was is not told again how it came to be, wherever it lies.
func TestOnlyWhatCameSince(t *testing.T) {
	tl := chainStore(t, Options{CompactRuns: 100}, 20, 1)
	last := tl.LastLSN()
	for _, where := range []string{"in memory", "flushed", "merged"} {
		var v Value
		for changes := range 20 {
			require.NoError(t, tl.GetSince(t.Context(), testKey(1), last, last-wal.LSN(8*changes), &v))
			require.Len(t, v.Deltas, changes, where)
			require.False(t, v.Whole())
		}
		require.NoError(t, tl.GetSince(t.Context(), testKey(1), last, 0, &v))
		require.True(t, v.Whole())
		if where == "in memory" {
			require.NoError(t, tl.Flush(t.Context()))
		} else {
			require.NoError(t, tl.Compact(t.Context()))
		}
	}
}

// TestMergedChainsAreShort: no in-memory layer saw many changes of the key, so that
// they come together only in a merge. Some LSNs have two of them.
func TestMergedChainsAreShort(t *testing.T) {
	const layers = 40
	each := chainLimit/int(deltaWeight(chainDelta)) - 1
	tl := chainStore(t, Options{CompactRuns: 100, MaxChain: 1}, 0, 1)
	changes := map[wal.LSN]int{tl.LastLSN(): 0}
	n := 0
	for range layers {
		for left := each; left > 0; {
			b := Batch{LSN: tl.LastLSN() + 8}
			for range min(left, 1+n%2) {
				b.Entries = append(b.Entries, Entry{Key: testKey(1), LSN: b.LSN, Kind: Delta, Value: make([]byte, chainDelta)})
			}
			require.NoError(t, tl.Put(t.Context(), b))
			left, n = left-len(b.Entries), n+len(b.Entries)
			changes[b.LSN] = n
		}
		require.NoError(t, tl.Flush(t.Context()))
	}
	require.NoError(t, tl.Compact(t.Context()))
	var v Value
	for lsn, want := range changes {
		require.NoError(t, tl.Get(t.Context(), testKey(1), lsn, &v))
		require.Equal(t, []byte{byte(want), byte(want >> 8), 0, 0}, counted(&v), "at %s", lsn)
		require.LessOrEqual(t, len(v.Deltas), each+3, "at %s", lsn)
	}
}

// TestNoImageNoHarm: an image that cannot be made is done without, and not tried again
// while the chain is in memory, for each attempt would read all of it.
func TestNoImageNoHarm(t *testing.T) {
	const changes = 500
	asked := 0
	o := Options{FS: vfs.NewMem(), MaxChainSize: chainLimit}
	o.Materialize = func(context.Context, Key, wal.LSN, *Value) ([]byte, error) { asked++; return nil, fmt.Errorf("no") }
	s := mustOpen(t, o)
	defer func() { require.NoError(t, s.Close()) }()
	tl, err := s.Create(timelineID(0), 100)
	require.NoError(t, err)
	for range changes {
		put(t, tl, Entry{Key: testKey(1), Kind: Delta, Value: make([]byte, chainDelta)})
	}
	var v Value
	require.NoError(t, tl.Get(t.Context(), testKey(1), tl.LastLSN(), &v))
	require.Len(t, v.Deltas, changes)
	require.Equal(t, 1, asked)
}

// TestFailedImageIsToldOnce: whatever keeps an image from being made is logged and
// counted once, also where one batch made the chain long twice.
func TestFailedImageIsToldOnce(t *testing.T) {
	long := make([]Entry, chainLimit/int(deltaWeight(chainDelta))+1)
	for i := range long {
		long[i] = Entry{Key: testKey(1), Kind: Delta, Value: make([]byte, chainDelta)}
	}
	base := Entry{Key: testKey(1), Kind: Image, Value: []byte("base")}
	no := func(context.Context, Key, wal.LSN, *Value) ([]byte, error) { return nil, errors.New("no") }
	for name, c := range map[string]struct {
		batch       []Entry
		damaged     bool
		materialize MaterializeFunc
	}{
		"the base cannot be read":    {long, true, materialize},
		"the caller cannot make one": {long, false, no},
		"the chain was long twice":   {slices.Concat(long, []Entry{base}, long), false, no},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			var logged bytes.Buffer
			o := Options{
				FS: fs, MaxChainSize: chainLimit, Materialize: c.materialize, Metrics: NewMetrics(nil),
				Logger: slog.New(slog.NewTextHandler(&logged, nil)),
			}
			s := mustOpen(t, o)
			defer func() { require.NoError(t, s.Close()) }()
			tl, err := s.Create(timelineID(0), 100)
			require.NoError(t, err)
			put(t, tl, base)
			require.NoError(t, tl.Flush(t.Context()))
			if c.damaged {
				damageLayers(t, fs)
			}
			b := Batch{Entries: slices.Clone(c.batch), LSN: tl.LastLSN()}
			for i := range b.Entries {
				b.LSN += 8
				b.Entries[i].LSN = b.LSN
			}
			require.NoError(t, tl.Put(t.Context(), b))
			require.Equal(t, 1, strings.Count(logged.String(), "image could not be made"), logged.String())
			require.InDelta(t, 1, testutil.ToFloat64(o.Metrics.images.WithLabelValues("failed")), 0)
		})
	}
}

// damageLayers flips what each layer's file holds.
func damageLayers(t *testing.T, fs vfs.FS) {
	t.Helper()
	dir := fs.PathJoin(testDir, timelineID(0).String())
	names, err := fs.List(dir)
	require.NoError(t, err)
	for _, name := range names {
		if path := fs.PathJoin(dir, name); isLayer(path) {
			content := readAll(t, fs, path)
			for i := range content {
				content[i] ^= 0xff
			}
			writeAll(t, fs, path, content)
		}
	}
}
