package walrecord

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// fixtureMajors are the versions of which testdata holds WAL. pgNN.wal.zst is
// three segments of 1 MiB written by a server of that version while it ran
// testdata/workload.sql; pgNN-overwrite.wal.zst is one segment of a server that
// was stopped inside a long record.
var fixtureMajors = []int{14, 15, 16, 17, 18}

// fixture is real WAL, from a segment start on.
type fixture struct {
	start wal.LSN
	bytes []byte
	recs  []span // its whole records
}

type span struct{ start, end wal.LSN }

const fixtureSegment = wal.MinSegmentSize

var fixtures sync.Map

// loadFixture unpacks a file of testdata and lists its records.
func loadFixture(t testing.TB, name string) *fixture {
	t.Helper()
	if f, ok := fixtures.Load(name); ok {
		return f.(*fixture)
	}
	f := &fixture{bytes: unpack(t, name+".wal.zst")}
	h, err := ParsePageHeader(f.bytes)
	require.NoError(t, err)
	f.start = h.PageStart
	r := NewReader(ScannerOptions{Start: f.start, SegmentSize: fixtureSegment}, func(start, end wal.LSN, _ []byte) error {
		f.recs = append(f.recs, span{start, end})
		return nil
	})
	if err := r.Feed(f.start, f.bytes); err != nil {
		require.True(t, IsEnd(err), "%v", err)
	}
	require.NotEmpty(t, f.recs)
	fixtures.Store(name, f)
	return f
}

func unpack(t testing.TB, name string) []byte {
	t.Helper()
	packed, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	d, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer d.Close()
	b, err := d.DecodeAll(packed, nil)
	require.NoError(t, err)
	return b
}

func (f *fixture) from(at wal.LSN) []byte { return f.bytes[at-f.start:] }

// eachRecord decodes every record of a fixture.
func (f *fixture) eachRecord(t testing.TB, major int, fn func(*Record)) {
	t.Helper()
	rec := Record{Major: major}
	r := NewReader(ScannerOptions{Start: f.start, SegmentSize: fixtureSegment, PGVersion: uint32(major)},
		func(start, end wal.LSN, b []byte) error {
			if err := Decode(b, start, end, &rec); err != nil {
				return err
			}
			fn(&rec)
			return nil
		})
	if err := r.Feed(f.start, f.bytes); err != nil {
		require.True(t, IsEnd(err), "%v", err)
	}
}

// TestFixtureStats checks the kinds of record that each version wrote, by name,
// against a reviewed table. UPDATE_GOLDEN=1 rewrites it.
func TestFixtureStats(t *testing.T) {
	for _, major := range fixtureMajors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			var stats Stats
			loadFixture(t, fmt.Sprintf("pg%d", major)).eachRecord(t, major, func(r *Record) {
				stats.Add(r)
				require.NotContains(t, Identify(r), "UNKNOWN")
			})
			var b bytes.Buffer
			require.NoError(t, stats.WriteTable(&b, true))
			golden := fmt.Sprintf("testdata/pg%d.stats", major)
			if os.Getenv("UPDATE_GOLDEN") != "" {
				require.NoError(t, os.WriteFile(golden, b.Bytes(), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), b.String())
		})
	}
}

// TestFixtureWaldump compares with what pg_waldump 15 printed of the same WAL.
func TestFixtureWaldump(t *testing.T) {
	want := strings.Split(strings.TrimSpace(string(unpack(t, "pg15.waldump.zst"))), "\n")
	var got []string
	loadFixture(t, "pg15").eachRecord(t, 15, func(r *Record) { got = append(got, comparable(Describe(r))) })
	requireSameLines(t, want, got)
}
