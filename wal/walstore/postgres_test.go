package walstore

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// The WAL of a real PostgreSQL 15; see testdata/README.md.
const (
	realFirst = wal.LSN(0x600000)
	realStart = wal.LSN(0x6A0EB0)
	realEnd   = wal.LSN(0x8A7A48)
)

func realWAL(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open("testdata/pg15-1mb.wal.gz")
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	b, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Len(t, b, int(realEnd-realFirst))
	return b
}

func realControl() Control {
	c := testControl()
	c.SystemID, c.PGVersion, c.Start = 7710759941539157692, 150018, realStart
	return c
}

// fill appends b from the position on in pieces of n bytes.
func fill(t testing.TB, s *Store, at wal.LSN, b []byte, n int) {
	t.Helper()
	for len(b) > 0 {
		n := min(n, len(b))
		require.NoError(t, s.Append(1, at, b[:n]))
		at, b = at+wal.LSN(n), b[n:]
	}
}

func TestRealWALInAnyPieces(t *testing.T) {
	all := realWAL(t)
	for _, n := range []int{8192, 131072, 12345, 1 << 20, len(all)} {
		o := Options{FS: vfs.NewMem()}
		s, err := Create(testDir, realControl(), o)
		require.NoError(t, err)
		fill(t, s, realFirst, all, n)
		require.NoError(t, s.Sync())
		require.Equal(t, Positions{realEnd, realEnd, realEnd, realEnd}, s.Positions())
		got := make([]byte, len(all))
		m, err := s.ReadAt(got, realFirst)
		require.NoError(t, err)
		require.Equal(t, len(all), m)
		require.Equal(t, sha256.Sum256(all), sha256.Sum256(got))
		shut(t, s)
	}
}

func TestDigests(t *testing.T) {
	all := realWAL(t)
	s, err := Create(testDir, realControl(), Options{FS: vfs.NewMem()})
	require.NoError(t, err)
	defer shut(t, s)
	fill(t, s, realFirst, all, 1<<20)
	r := wal.Range{Start: realStart, End: 0x8A0000}
	got, err := s.Digests(context.Background(), r)
	require.NoError(t, err)
	cuts := []wal.LSN{realStart, 0x700000, 0x800000, 0x8A0000}
	require.Len(t, got, 3)
	for i, d := range got {
		require.Equal(t, wal.Range{Start: cuts[i], End: cuts[i+1]}, d.Range)
		require.Equal(t, sha256.Sum256(all[cuts[i]-realFirst:cuts[i+1]-realFirst]), d.SHA256)
	}
	_, err = s.Digests(context.Background(), wal.Range{Start: realStart, End: realEnd + 1})
	require.ErrorIs(t, err, ErrGap)
	_, err = s.Digests(context.Background(), wal.Range{Start: realEnd, End: realStart})
	require.Error(t, err)
	_, err = s.Digests(context.Background(), wal.Range{Start: realFirst - 1, End: realStart})
	require.ErrorIs(t, err, ErrRemoved)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.Digests(ctx, r)
	require.ErrorIs(t, err, context.Canceled)
	none, err := s.Digests(context.Background(), wal.Range{Start: realStart, End: realStart})
	require.NoError(t, err)
	require.Empty(t, none)
}

// TestPGWaldumpReadsOurFiles has PostgreSQL's own tool read segments in place,
// the open one too, with true and with synthesised prefix.
func TestPGWaldumpReadsOurFiles(t *testing.T) {
	tool := findWaldump(t)
	all := realWAL(t)
	for _, synthesised := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "tenant", "timeline")
		s, err := Create(dir, realControl(), Options{})
		require.NoError(t, err)
		at := realFirst
		if synthesised {
			require.NoError(t, s.SynthesizePrefix())
			at = realStart
		}
		fill(t, s, at, all[at-realFirst:], 100_000)
		require.NoError(t, s.Sync())
		names, err := os.ReadDir(dir)
		require.NoError(t, err)
		var segments []string
		for _, e := range names {
			if len(e.Name()) >= 24 {
				segments = append(segments, e.Name())
			}
		}
		sort.Strings(segments)
		require.Equal(t, []string{"000000010000000000000006", "000000010000000000000007", "000000010000000000000008.partial"}, segments)

		// From the first segment's start: what lies in front of the first record
		// must look like the end of an earlier one.
		out, err := exec.Command(tool, filepath.Join(dir, segments[0]), filepath.Join(dir, segments[1])).CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "lsn: 0/006A0EB0")
		require.Contains(t, string(out), "desc: SWITCH")

		// The open segment, under PostgreSQL's name as the tool needs it.
		require.NoError(t, os.Link(filepath.Join(dir, segments[2]), filepath.Join(dir, strings.TrimSuffix(segments[2], ".partial"))))
		out, err = exec.Command(tool, "-p", dir, "-s", realStart.String(), "-e", realEnd.String()).CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "lsn: 0/008A7A20", "the last record")
		require.NoError(t, s.Close())
	}
}

func findWaldump(t *testing.T) string {
	t.Helper()
	if tool, err := exec.LookPath("pg_waldump"); err == nil {
		return tool
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_waldump") // The pattern is valid.
	for _, tool := range found {
		if strings.Contains(tool, "/15/") {
			return tool
		}
	}
	t.Skip("no pg_waldump of PostgreSQL 15")
	return ""
}
