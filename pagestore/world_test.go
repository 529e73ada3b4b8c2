package pagestore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/walhaven/walhaven/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testDir = "store"

func timelineID(n int) wal.TimelineID { return wal.TimelineID{15: byte(n + 1)} }

func testKey(n int) Key { return Key{0: 3, 22: byte(n >> 8), 23: byte(n)} }

// apply is the redo of the tests: a delta appends its record.
func apply(v *Value) []byte {
	page := append([]byte{}, v.Image...)
	for _, d := range v.Deltas {
		if d.WillInit {
			page = page[:0]
		}
		page = append(page, d.Record...)
	}
	return page
}

func materialize(_ context.Context, _ Key, _ wal.LSN, v *Value) ([]byte, error) { return apply(v), nil }

// smallOptions make layers, chains and runs so small that a test crosses every
// boundary.
func smallOptions(fs vfs.FS) Options {
	return Options{
		FS: fs, Materialize: materialize, MemLayerSize: 2 << 10, MaxFrozen: 1, LayerSize: 1 << 10, BlockSize: 512,
		CacheSize: 1 << 20, MaxOpenLayers: 3, CompactRuns: 3, MaxChain: 3, MaxChainSize: 1 << 10, FlushWriters: 2, CompactCompression: CompressionMinLZ,
	}
}

// history is the model of a timeline: all entries in order, and what is kept.
type history struct {
	parent  *history
	branch  wal.LSN
	start   wal.LSN
	last    wal.LSN
	entries []Entry
	cutoff  wal.LSN
	pins    map[string]wal.LSN
}

func (h *history) readable(lsn wal.LSN) bool {
	if h.parent != nil && lsn <= h.branch {
		return h.parent.readable(lsn)
	}
	if lsn > h.last || lsn < h.start {
		return false
	}
	if lsn >= h.cutoff {
		return true
	}
	for _, pinned := range h.pins {
		if pinned == lsn {
			return true
		}
	}
	return false
}

// visible returns the entries at or below lsn, ancestors' first, the drops of an
// LSN before its other entries.
func (h *history) visible(lsn wal.LSN) []Entry {
	var all []Entry
	if h.parent != nil {
		all = h.parent.visible(min(lsn, h.branch))
	}
	var own []Entry
	for _, e := range h.entries {
		if e.LSN <= lsn {
			own = append(own, e)
		}
	}
	slices.SortStableFunc(own, func(a, b Entry) int {
		if a.LSN != b.LSN {
			return int(int64(a.LSN) - int64(b.LSN))
		}
		drops := func(e Entry) int {
			if e.Kind == Drop {
				return 0
			}
			return 1
		}
		return drops(a) - drops(b)
	})
	return append(all, own...)
}

// at is what every key holds at lsn.
func (h *history) at(lsn wal.LSN) map[Key][]byte {
	values := map[Key][]byte{}
	for _, e := range h.visible(lsn) {
		switch e.Kind {
		case Image, InitDelta:
			values[e.Key] = append([]byte{}, e.Value...)
		case Delta:
			values[e.Key] = append(values[e.Key][:len(values[e.Key]):len(values[e.Key])], e.Value...)
		case Tombstone:
			delete(values, e.Key)
		case Drop:
			for k := range values {
				if (KeyRange{e.Key, e.End}).Contains(k) {
					delete(values, k)
				}
			}
		}
	}
	return values
}

// check compares what t answers at lsn, by Get and by Scan, with the model.
func (h *history) check(t *Timeline, lsn wal.LSN, keys int) error {
	ctx := context.Background()
	want := h.at(lsn)
	var v Value
	for i := range keys {
		key := testKey(i)
		err := t.Get(ctx, key, lsn, &v)
		page, exists := want[key]
		if exists != (err == nil) {
			return fmt.Errorf("key %d at %s: exists %v, got %w", i, lsn, exists, err)
		}
		if got := apply(&v); exists && !bytes.Equal(got, page) {
			return fmt.Errorf("key %d at %s: got %q, want %q", i, lsn, got, page)
		}
	}
	for _, since := range []wal.LSN{lsn, lsn - 1, (lsn + 90) / 2, 90} {
		if err := h.checkSince(t, lsn, since, want, keys); err != nil {
			return err
		}
	}
	for _, keysOnly := range []bool{false, true} {
		seen := map[Key][]byte{}
		err := t.Scan(ctx, AllKeys, lsn, ScanOptions{KeysOnly: keysOnly}, func(key Key, v *Value) (bool, error) {
			seen[key] = apply(v)
			return true, nil
		})
		if err != nil {
			return err
		}
		if len(seen) != len(want) {
			return fmt.Errorf("scan at %s: %d keys, want %d", lsn, len(seen), len(want))
		}
		for key, page := range want {
			got, ok := seen[key]
			if !ok || !keysOnly && !bytes.Equal(got, page) {
				return fmt.Errorf("scan at %s: key %s is %q, want %q", lsn, key, got, page)
			}
		}
	}
	return nil
}

// checkSince compares what t answers to who has the values of since.
func (h *history) checkSince(t *Timeline, lsn, since wal.LSN, want map[Key][]byte, keys int) error {
	had := h.at(since)
	var v Value
	for i := range keys {
		key := testKey(i)
		old, had := had[key]
		if !had {
			continue
		}
		err := t.GetSince(context.Background(), key, lsn, since, &v)
		page, exists := want[key]
		if exists != (err == nil) {
			return fmt.Errorf("key %d at %s since %s: exists %v, got %w", i, lsn, since, exists, err)
		}
		for _, d := range v.Deltas {
			if d.LSN <= since && !v.Whole() {
				return fmt.Errorf("key %d at %s: the change at %s is not since %s", i, lsn, d.LSN, since)
			}
		}
		if !v.Whole() {
			v.Image = old
		}
		if got := apply(&v); exists && !bytes.Equal(got, page) {
			return fmt.Errorf("key %d at %s since %s: got %q, want %q", i, lsn, since, got, page)
		}
	}
	return nil
}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(testDir, o)
	require.NoError(t, err)
	return s
}

// put is a batch of one entry at the next LSN.
func put(t testing.TB, tl *Timeline, e Entry) wal.LSN {
	t.Helper()
	e.LSN = tl.LastLSN() + 8
	require.NoError(t, tl.Put(t.Context(), Batch{Entries: []Entry{e}, LSN: e.LSN}))
	return e.LSN
}
