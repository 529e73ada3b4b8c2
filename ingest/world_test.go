package ingest

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

const fixtureSegment = wal.MinSegmentSize

// fixture is real WAL of walrecord's testdata, from a segment's start on.
func fixture(t testing.TB, name string) (start wal.LSN, content []byte) {
	t.Helper()
	packed, err := os.ReadFile("../wal/walrecord/testdata/" + name + ".wal.zst")
	require.NoError(t, err)
	d, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer d.Close()
	content, err = d.DecodeAll(packed, nil)
	require.NoError(t, err)
	h, err := walrecord.ParsePageHeader(content)
	require.NoError(t, err)
	return h.PageStart, content
}

// firstRecord is where the first record that begins in the WAL begins.
func firstRecord(t testing.TB, start wal.LSN, content []byte) wal.LSN {
	t.Helper()
	var first wal.LSN
	r := walrecord.NewReader(walrecord.ScannerOptions{Start: start, SegmentSize: fixtureSegment},
		func(s, _ wal.LSN, _ []byte) error {
			if first == 0 {
				first = s
			}
			return nil
		})
	if err := r.Feed(start, content); err != nil {
		require.True(t, walrecord.IsEnd(err), "%v", err)
	}
	return first
}

// emptyControl is a control file that says as little as one can.
func emptyControl(version uint32, id wal.SystemID) []byte {
	c := make(control, pgdata.ControlSize(version))
	binary.LittleEndian.PutUint64(c[pgdata.ControlSystemID:], uint64(id))
	binary.LittleEndian.PutUint32(c[pgdata.ControlVersion:], version)
	binary.LittleEndian.PutUint64(c.checkpoint()[pgdata.CheckPointNextXID:], firstNormalXID)
	pgdata.SealControl(c)
	return c
}

// newStore is a store with one timeline that begins at start.
func newStore(t testing.TB, dir string, start wal.LSN, o pagestore.Options) (*pagestore.Store, *pagestore.Timeline) {
	t.Helper()
	o.Materialize = pagekey.Materialize
	s, err := pagestore.Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() }) // Some tests close it themselves.
	tl, err := s.Create(wal.TimelineID{1}, start)
	require.NoError(t, err)
	return s, tl
}

// base puts a control file at an LSN, so that ingest can begin there.
func base(t testing.TB, tl *pagestore.Timeline, at wal.LSN, control []byte, more ...pagestore.Entry) {
	t.Helper()
	entries := append([]pagestore.Entry{{Key: pagekey.ControlFile(), LSN: at, Kind: pagestore.Image, Value: control}}, more...)
	require.NoError(t, tl.Put(t.Context(), pagestore.Batch{Entries: entries, LSN: at}))
}

// dump is everything a timeline holds at an LSN, as put, but each commit of a list
// by itself: which ones share a list depends on how WAL was fed.
func dump(t testing.TB, tl *pagestore.Timeline, lsn wal.LSN) map[pagestore.Key]string {
	t.Helper()
	all := map[pagestore.Key]string{}
	err := tl.Scan(t.Context(), pagestore.AllKeys, lsn, pagestore.ScanOptions{}, func(k pagestore.Key, v *pagestore.Value) (bool, error) {
		if ref, err := pagekey.Parse(k); err == nil && ref.Class == pagekey.ClassEvent && EventKind(ref.Kind) == EventCommit {
			e, err := parseEvent(&ref, v.Image)
			for _, c := range e.Commits {
				all[pagekey.Event(ref.Kind, c.LSN, 0)] = fmt.Sprint(c)
			}
			return true, err
		}
		b := append([]byte(nil), v.Image...)
		for i := range v.Deltas {
			b = binary.LittleEndian.AppendUint64(b, uint64(v.Deltas[i].LSN))
			b = append(b, v.Deltas[i].Record...)
		}
		all[k] = string(b)
		return true, nil
	})
	require.NoError(t, err)
	return all
}
