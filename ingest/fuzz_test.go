package ingest

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// FuzzRecord takes records apart whose CRC is right and whose contents are not:
// no bytes make a panic, and what is refused leaves the next record's way open.
func FuzzRecord(f *testing.F) {
	for _, major := range []int{14, 15, 16, 17, 18} {
		seen := map[[2]byte]bool{}
		start, content := fixture(f, fmt.Sprintf("pg%d", major))
		r := walrecord.NewReader(walrecord.ScannerOptions{Start: start, SegmentSize: fixtureSegment}, func(_, _ wal.LSN, rec []byte) error {
			if kind := [2]byte{rec[17], rec[16] & 0xF0}; !seen[kind] && len(rec) < 2000 {
				seen[kind] = true
				f.Add(uint8(major), append([]byte(nil), rec...))
			}
			return nil
		})
		if err := r.Feed(start, content); err != nil {
			require.True(f, walrecord.IsEnd(err), "%v", err)
		}
	}
	_, tl := newStore(f, f.TempDir(), 1, pagestore.Options{})
	base(f, tl, 8, emptyControl(1800, 1))
	f.Fuzz(func(t *testing.T, major uint8, rec []byte) {
		if len(rec) < walrecord.RecordHeaderSize || major < 14 || major > 18 {
			return
		}
		binary.LittleEndian.PutUint32(rec, uint32(len(rec)))
		in, err := New(t.Context(), tl, Options{PGVersion: uint32(major), SegmentSize: fixtureSegment})
		require.NoError(t, err)
		in.ctx = t.Context()
		at := tl.LastLSN()
		c := newChunk()
		c.major, c.xidLimit = int(major), uint32(in.state.storedXID)
		c.add(at, at+8, rec)
		c.encode()
		if err := in.finish(c); err == nil {
			require.Equal(t, at+8, tl.LastLSN())
		}
	})
}
