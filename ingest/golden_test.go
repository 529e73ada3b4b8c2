package ingest

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

var controlVersions = map[int]uint32{14: 1300, 15: 1300, 16: 1300, 17: 1700, 18: 1800}

// changesOnly keep what was ingested as it came: where images are put on top of it
// depends on the batches.
var changesOnly = pagestore.Options{MaxChainSize: 1 << 30}

// ingestFixture feeds a fixture in pieces of size bytes to a new timeline.
func ingestFixture(t testing.TB, major, size, workers int, name string) *pagestore.Timeline {
	t.Helper()
	start, content := fixture(t, name)
	begin := firstRecord(t, start, content)
	h, err := walrecord.ParsePageHeader(content)
	require.NoError(t, err)
	_, tl := newStore(t, t.TempDir(), begin-1, changesOnly)
	base(t, tl, begin, emptyControl(controlVersions[major], h.SystemID))
	in, err := New(t.Context(), tl, Options{PGVersion: uint32(major), SegmentSize: fixtureSegment, Workers: workers})
	require.NoError(t, err)
	require.Equal(t, begin, in.Position())
	for at := begin; int(at-start) < len(content); {
		n := min(size, len(content)-int(at-start))
		if err := in.Feed(t.Context(), at, content[at-start:int(at-start)+n]); err != nil {
			require.True(t, walrecord.IsEnd(err), "%v", err)
			break
		}
		at += wal.LSN(n)
	}
	return tl
}

// The result does not depend on how WAL is cut, nor on how many goroutines take
// it apart.
func TestPiecesAndWorkersMakeNoDifference(t *testing.T) {
	for _, major := range []int{14, 15, 16, 17, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			name := fmt.Sprintf("pg%d", major)
			whole := ingestFixture(t, major, 1<<20, 1, name)
			want := dump(t, whole, whole.LastLSN())
			require.Greater(t, len(want), 100)
			for _, c := range []struct{ size, workers int }{{777, 1}, {1 << 20, 4}, {300 << 10, runtime.GOMAXPROCS(0)}} {
				tl := ingestFixture(t, major, c.size, c.workers, name)
				require.Equal(t, whole.LastLSN(), tl.LastLSN())
				require.Equal(t, want, dump(t, tl, tl.LastLSN()), "pieces of %d, %d workers", c.size, c.workers)
			}
		})
	}
}

// A record that a crash cut short does not stop ingest, and is in the index.
func TestOverwrittenRecordIsAGap(t *testing.T) {
	for _, major := range []int{14, 15, 18} {
		tl := ingestFixture(t, major, 64<<10, 2, fmt.Sprintf("pg%d-overwrite", major))
		var gaps []Event
		require.NoError(t, Events(t.Context(), tl, EventGap, 0, tl.LastLSN(), func(e Event) bool {
			gaps = append(gaps, e)
			return true
		}))
		require.Len(t, gaps, 1, major)
		require.Less(t, gaps[0].Numbers[0], gaps[0].Numbers[1])
		require.Less(t, wal.LSN(gaps[0].Numbers[1]), gaps[0].LSN)
	}
}

// After every flush, a crash and a start from there lead to the same.
func TestResumesWhereItsTimelineEnds(t *testing.T) {
	const major = 15
	whole := ingestFixture(t, major, 1<<20, 2, "pg15")
	want := dump(t, whole, whole.LastLSN())

	start, content := fixture(t, "pg15")
	begin := firstRecord(t, start, content)
	h, err := walrecord.ParsePageHeader(content)
	require.NoError(t, err)
	dir := t.TempDir()
	s, tl := newStore(t, dir, begin-1, changesOnly)
	base(t, tl, begin, emptyControl(controlVersions[major], h.SystemID))
	require.NoError(t, tl.Flush(t.Context()))
	piece, before := 200_001, wal.LSN(0)
	for crash := 0; ; crash++ {
		if tl.LastLSN() == before {
			piece *= 2 // There are records that are larger.
		}
		before = tl.LastLSN()
		in, err := New(t.Context(), tl, Options{PGVersion: major, SegmentSize: fixtureSegment})
		require.NoError(t, err)
		at := in.Position()
		if int(at-start) >= len(content) {
			break
		}
		n := min(piece, len(content)-int(at-start))
		err = in.Feed(t.Context(), at, content[at-start:int(at-start)+n])
		if walrecord.IsEnd(err) {
			break
		}
		require.NoError(t, err)
		if crash%2 == 0 {
			require.NoError(t, tl.Flush(t.Context()))
		}
		// More than what was flushed is lost with the process.
		if rest := content[int(at-start)+n:]; len(rest) > 0 {
			if err := in.Feed(t.Context(), at+wal.LSN(n), rest[:min(50_000, len(rest))]); err != nil {
				require.True(t, walrecord.IsEnd(err), "%v", err)
			}
		}
		if crash%2 == 1 {
			require.NoError(t, tl.Flush(t.Context()))
		}
		require.NoError(t, s.Close())
		s, err = pagestore.Open(dir, pagestore.Options{Materialize: pagekey.Materialize, MaxChainSize: changesOnly.MaxChainSize})
		require.NoError(t, err)
		tl, err = s.Timeline(tl.ID())
		require.NoError(t, err)
	}
	require.Equal(t, whole.LastLSN(), tl.LastLSN())
	require.Equal(t, want, dump(t, tl, tl.LastLSN()))
	require.NoError(t, s.Close())
}
