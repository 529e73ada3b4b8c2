package redo

import (
	"os"
	"path/filepath"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// feed hands the records of consecutive WAL to fn.
type feed struct {
	reader *walrecord.Reader
	rec    walrecord.Record
	ended  bool
}

func newFeed(start wal.LSN, size wal.SegmentSize, fn func(r *walrecord.Record, raw []byte)) *feed {
	f := &feed{}
	f.reader = walrecord.NewReader(walrecord.ScannerOptions{Start: start, SegmentSize: size},
		func(start, end wal.LSN, b []byte) error {
			f.rec.Major = f.reader.Major()
			if err := walrecord.Decode(b, start, end, &f.rec); err != nil {
				return err
			}
			fn(&f.rec, b)
			return nil
		})
	return f
}

func (f *feed) bytes(t testing.TB, at wal.LSN, b []byte) {
	t.Helper()
	if f.ended {
		return
	}
	if err := f.reader.Feed(at, b); err != nil {
		require.True(t, walrecord.IsEnd(err), "%v", err)
		f.ended = true
	}
}

// readFolder hands the records of a pg_wal folder to fn, from begin on.
func readFolder(t testing.TB, dir string, begin wal.LSN, fn func(r *walrecord.Record, raw []byte)) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "????????????????????????"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	sort.Strings(paths)
	first, err := os.ReadFile(paths[0])
	require.NoError(t, err)
	h, err := walrecord.ParsePageHeader(first)
	require.NoError(t, err)
	size := wal.SegmentSize(h.SegmentSize)
	var f *feed
	for _, path := range paths {
		_, no, err := size.ParseFileName(filepath.Base(path))
		require.NoError(t, err)
		if size.Start(no)+wal.LSN(size) <= begin {
			continue
		}
		if f == nil {
			f = newFeed(size.Start(no), size, func(r *walrecord.Record, raw []byte) {
				if r.Start >= begin {
					fn(r, raw)
				}
			})
		}
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		if f.bytes(t, size.Start(no), b); f.ended {
			return
		}
	}
}

// TestOracleOnFolder is the oracle over the WAL in the folder that
// WALHAVEN_ORACLE_WAL names, of a server with wal_consistency_checking=all and
// wal_log_hints=on that was stopped cleanly.
func TestOracleOnFolder(t *testing.T) {
	dir := os.Getenv("WALHAVEN_ORACLE_WAL")
	if dir == "" {
		t.Skip("WALHAVEN_ORACLE_WAL names no folder")
	}
	k := newOracle(Options{WALLogHints: true})
	readFolder(t, dir, 0, func(r *walrecord.Record, _ []byte) { k.record(r) })
	t.Logf("%d records, %d bits early\n%s", k.records, k.earlySeen, k.table())
	mains, maps := k.compareFiles(t, filepath.Dir(dir))
	t.Logf("compared with files: %d pages, %d pages of maps", mains, maps)
	for _, f := range k.failures {
		t.Error(f)
	}
}
