package pagestore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// rows counts the rows and the entries of the timeline's layers.
func rows(t *testing.T, tl *Timeline) (rows, entries int) {
	t.Helper()
	m := tl.acquire()
	defer tl.release(m)
	for _, r := range m.runs {
		for _, l := range r.layers {
			o, reader, err := l.acquire(t.Context())
			require.NoError(t, err)
			iter, err := reader.NewPointIter(t.Context(), o)
			require.NoError(t, err)
			for kv := iter.First(); kv != nil; kv = iter.Next() {
				var row rowReader
				ok, err := row.open(kv.K.UserKey, kv.InPlaceValue())
				for ; ok; ok, err = row.next() {
					entries++
				}
				require.NoError(t, err)
				rows++
			}
			require.NoError(t, iter.Close())
			l.release()
		}
	}
	return rows, entries
}

// Small changes of a page share rows, and each LSN has its own answer all the same:
// those that end within a row, too.
func TestEntriesShareRows(t *testing.T) {
	o := smallOptions(vfs.NewMem())
	o.BlockSize, o.MemLayerSize, o.MaxChain, o.MaxChainSize = 1<<10, 1<<20, 1000, 1<<20
	s := mustOpen(t, o)
	defer s.Close()
	tl, err := s.Create(timelineID(0), 100)
	require.NoError(t, err)
	h := &history{start: 100, last: 100, cutoff: 100}
	const keys, lsns = 3, 150
	for lsn := wal.LSN(101); lsn <= 100+lsns; lsn++ {
		b := Batch{LSN: lsn}
		for key := range keys {
			e := Entry{Key: testKey(key), LSN: lsn, Kind: Delta, Value: fmt.Appendf(nil, "<%d>", lsn)}
			switch {
			case int(lsn)%50 == key:
				e.Kind = Image
			case int(lsn)%20 == key: // One that has a row of its own.
				e.Value = append(e.Value, bytes.Repeat([]byte{'x'}, 400)...)
			case int(lsn)%70 == key:
				e.Kind, e.Value = Tombstone, nil
			}
			b.Entries = append(b.Entries, e)
			if int(lsn)%3 == key {
				b.Entries = append(b.Entries, Entry{Key: testKey(key), LSN: lsn, Kind: Delta, Value: []byte("again")})
			}
		}
		require.NoError(t, tl.Put(t.Context(), b))
		h.entries, h.last = append(h.entries, b.Entries...), lsn
	}
	require.NoError(t, tl.Flush(t.Context()))
	check := func() {
		t.Helper()
		for lsn := h.start; lsn <= h.last; lsn++ {
			require.NoError(t, h.check(tl, lsn, keys))
		}
		n, entries := rows(t, tl)
		require.Equal(t, len(h.entries), entries)
		require.Less(t, n, entries/4)
		t.Logf("%d entries in %d rows", entries, n)
	}
	check()
	require.NoError(t, tl.Compact(t.Context()))
	check()
}

// TestRowsAreInOrder: what reads would call damaged is not written, however it came.
func TestRowsAreInOrder(t *testing.T) {
	lw := layerWriter{rows: rowGroup{limit: 1 << 10}}
	at := func(lsn wal.LSN, ord uint16) *item { return &item{lsn: lsn, ord: ord, stored: []byte{byte(Delta), 1}} }
	require.NoError(t, lw.add(at(0x30, 1)))
	require.NoError(t, lw.add(at(0x30, 0)))
	require.ErrorIs(t, lw.add(at(0x30, 0)), errRow, "twice")
	require.ErrorIs(t, lw.add(at(0x38, 0)), errRow, "newer")
	require.NoError(t, lw.add(at(0x28, 5)))
}

// Layers that were written before rows had several entries are read, and merged
// with later ones. The files are of a program of that time.
func TestLayersOfVersion1(t *testing.T) {
	s := mustOpen(t, layerOptions(storeOfVersion1(t)))
	defer s.Close()
	tl, err := s.Timeline(timelineID(0))
	require.NoError(t, err)
	h := damagedHistory()
	require.Equal(t, h.last, tl.FlushedLSN())
	check := func() {
		t.Helper()
		for lsn := h.start; lsn <= h.last; lsn++ {
			require.NoError(t, h.check(tl, lsn, 7))
		}
	}
	check()
	n, entries := rows(t, tl)
	require.Equal(t, entries, n)
	for i := range 20 {
		e := Entry{Key: testKey(i % 7), Kind: Delta, Value: fmt.Appendf(nil, "{%d}", i)}
		e.LSN = put(t, tl, e)
		h.entries, h.last = append(h.entries, e), e.LSN
	}
	require.NoError(t, tl.Flush(t.Context()))
	check()
	require.NoError(t, tl.Compact(t.Context()))
	check()
	n, entries = rows(t, tl)
	require.Equal(t, 140, entries)
	require.Less(t, n, entries/2)
}

// storeOfVersion1 is a disk with those files.
func storeOfVersion1(t *testing.T) vfs.FS {
	fs := vfs.NewMem()
	dir := fs.PathJoin(testDir, timelineID(0).String())
	require.NoError(t, fs.MkdirAll(dir, 0o700))
	files, err := os.ReadDir("testdata/store-v1")
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join("testdata/store-v1", f.Name())) //nolint:gosec // It is ours.
		require.NoError(t, err)
		writeAll(t, fs, fs.PathJoin(dir, f.Name()), content)
	}
	return fs
}

// Whatever a row holds: an error, or entries of one key in order.
func FuzzRow(f *testing.F) {
	g := rowGroup{limit: 1 << 10}
	for i := range 4 {
		g.add(&item{key: testKey(1), lsn: wal.LSN(500 - i/2), ord: uint16(4 - i), stored: []byte{byte(Delta), byte(i)}})
	}
	k := appendLayerKey(nil, g.key, g.lsn, g.ord)
	f.Add(k, bytes.Clone(g.take()))
	f.Add(k, []byte{byte(Image), 1, 2, 3})
	f.Add(k, []byte{byte(grouped)})
	f.Add(k, []byte{byte(grouped), 0xf4, 3, 4, 2})
	f.Add(k, binary.AppendUvarint([]byte{byte(grouped)}, math.MaxUint64))
	f.Add(k[:10], []byte{byte(Image)})
	f.Fuzz(func(t *testing.T, k, value []byte) {
		var r rowReader
		before := item{key: r.it.key, lsn: math.MaxUint64, ord: math.MaxUint16}
		read := 0
		ok, err := r.open(k, value)
		before.key = r.it.key
		for ; ok; ok, err = r.next() {
			if r.it.key != Key(k[:KeySize]) || read > 0 && !before.before(&r.it) {
				t.Fatalf("%v behind %v", r.it, before)
			}
			if len(r.it.stored) == 0 || len(r.it.stored) > len(value) {
				t.Fatalf("entry of %d bytes in a row of %d", len(r.it.stored), len(value))
			}
			before = r.it
			read++
		}
		if err == nil && (before.lsn != r.lsn || before.ord != r.ord) {
			t.Fatalf("row of %s ends at %s", r.lsn, before.lsn)
		}
	})
}
