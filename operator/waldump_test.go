package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

const dumpSegment = wal.MinSegmentSize

// memoryWAL is WAL in memory.
type memoryWAL struct {
	start wal.LSN
	bytes []byte
}

func (m *memoryWAL) ReadAt(p []byte, at wal.LSN) (int, error) {
	return bytes.NewReader(m.bytes).ReadAt(p, int64(at-m.start))
}

func (m *memoryWAL) source() WALSource {
	return WALSource{WALReader: m, SegmentSize: dumpSegment, First: m.start}
}

// realWAL is what PostgreSQL 15 wrote, and what pg_waldump printed of it without
// the descriptions of main data.
func realWAL(t *testing.T) (*memoryWAL, []string) {
	t.Helper()
	unpack := func(name string) []byte {
		packed, err := os.ReadFile(filepath.Join("../wal/walrecord/testdata", name))
		require.NoError(t, err)
		d, err := zstd.NewReader(nil)
		require.NoError(t, err)
		defer d.Close()
		b, err := d.DecodeAll(packed, nil)
		require.NoError(t, err)
		return b
	}
	m := &memoryWAL{bytes: unpack("pg15.wal.zst")}
	h, err := walrecord.ParsePageHeader(m.bytes)
	require.NoError(t, err)
	m.start = h.PageStart
	return m, strings.Split(strings.TrimSpace(string(unpack("pg15.waldump.zst"))), "\n")
}

// writeFolder writes WAL as segment files of a timeline.
func writeFolder(t *testing.T, dir string, tli wal.TLI, start wal.LSN, b []byte, suffix string) {
	t.Helper()
	for off := 0; off < len(b); off += int(dumpSegment) {
		seg := make([]byte, dumpSegment)
		copy(seg, b[off:])
		name := dumpSegment.FileName(tli, dumpSegment.SegmentNo(start+wal.LSN(off)))
		if off+int(dumpSegment) >= len(b) {
			name += suffix
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), seg, 0o600))
	}
}

func dump(t *testing.T, o WaldumpOptions) ([]string, WaldumpResult, error) {
	t.Helper()
	var out bytes.Buffer
	result, err := Waldump(t.Context(), &out, o)
	text := strings.TrimSuffix(out.String(), "\n")
	if text == "" {
		return nil, result, err
	}
	return strings.Split(text, "\n"), result, err
}

// place is what a line begins with, up to and including the operation.
func place(line string) string {
	head, desc, _ := strings.Cut(line, "desc: ")
	return head + strings.FieldsFunc(desc, func(r rune) bool { return r == ' ' || r == ',' })[0]
}

func TestWaldumpFolder(t *testing.T) {
	m, want := realWAL(t)
	dir := t.TempDir()
	writeFolder(t, dir, 1, m.start, m.bytes, ".partial")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "00000002.history"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "archive_status"), 0o700))

	got, result, err := dump(t, WaldumpOptions{Folder: dir})
	require.NoError(t, err)
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, place(want[i]), place(got[i]))
	}
	require.Equal(t, uint64(len(want)), result.Records)
	require.Equal(t, m.start+wal.LSN(len(m.bytes)), result.End)

	one := filepath.Join(dir, dumpSegment.FileName(1, dumpSegment.SegmentNo(m.start)))
	got, _, err = dump(t, WaldumpOptions{Folder: one})
	require.NoError(t, err)
	require.NotEmpty(t, got)
	require.Less(t, len(got), len(want))

	_, _, err = dump(t, WaldumpOptions{Folder: t.TempDir()})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, _, err = dump(t, WaldumpOptions{Folder: filepath.Join(dir, "none")})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestWaldumpRange(t *testing.T) {
	m, _ := realWAL(t)
	all, _, err := dump(t, WaldumpOptions{Source: m.source()})
	require.NoError(t, err)
	_, first, err := dump(t, WaldumpOptions{Source: m.source(), Limit: 1000})
	require.NoError(t, err)
	require.Equal(t, uint64(1000), first.Records)

	got, result, err := dump(t, WaldumpOptions{Source: m.source(), Start: first.End, Limit: 5})
	require.NoError(t, err)
	require.Equal(t, all[1000:1005], got)

	// Between two records the next one is found.
	got, _, err = dump(t, WaldumpOptions{Source: m.source(), Start: first.End - 3, Limit: 5})
	require.NoError(t, err)
	require.Equal(t, all[1000:1005], got)

	// End is where a record may end at the latest.
	got, _, err = dump(t, WaldumpOptions{Source: m.source(), Start: first.End, End: result.End})
	require.NoError(t, err)
	require.Equal(t, all[1000:1005], got)
	got, _, err = dump(t, WaldumpOptions{Source: m.source(), Start: first.End, End: result.End - 8})
	require.NoError(t, err)
	require.Equal(t, all[1000:1004], got)

	// A source may begin at a record inside a page.
	src := m.source()
	src.First = first.End
	got, _, err = dump(t, WaldumpOptions{Source: src, Limit: 5})
	require.NoError(t, err)
	require.Equal(t, all[1000:1005], got)
}

func TestWaldumpJSON(t *testing.T) {
	m, want := realWAL(t)
	lines, result, err := dump(t, WaldumpOptions{Source: m.source(), Output: "jsonl"})
	require.NoError(t, err)
	require.Len(t, lines, len(want))
	images, prev := 0, wal.LSN(0)
	for _, line := range lines {
		var r WaldumpRecord
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		require.True(t, prev == 0 || r.Prev == prev)
		prev = r.LSN
		for _, b := range r.Blocks {
			require.NotEmpty(t, b.Fork)
			if b.Image != "" {
				require.Equal(t, "full_page", b.Image)
				images += b.ImageBytes
			}
		}
	}

	stats, _, err := dump(t, WaldumpOptions{Source: m.source(), Stats: WaldumpStatsRecords, Output: "jsonl"})
	require.NoError(t, err)
	var sum walrecord.Count
	for _, line := range stats {
		var row walrecord.StatsRow
		require.NoError(t, json.Unmarshal([]byte(line), &row))
		sum.Records += row.Records
		sum.FPIBytes += row.FPIBytes
	}
	require.Equal(t, result.Records, sum.Records)
	require.Equal(t, uint64(images), sum.FPIBytes)

	table, _, err := dump(t, WaldumpOptions{Source: m.source(), Stats: WaldumpStatsManagers})
	require.NoError(t, err)
	require.Len(t, table, 3+22+2)
	_, _, err = dump(t, WaldumpOptions{Source: m.source(), Output: "yaml"})
	require.ErrorContains(t, err, "yaml")
}

// TestWaldumpTimelines follows the newest timeline from its ancestor's segments
// into its own, and leaves the ancestor's own future alone.
func TestWaldumpTimelines(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{Start: 5 << 20})
	b.Pad(6 << 20)
	old := append([]byte(nil), b.Bytes()...)
	oldFuture := walrecordtest.New(walrecordtest.Options{Start: 6 << 20})
	oldFuture.Pad(8 << 20)
	b.SetTLI(2)
	last, _ := b.Message(77)

	dir := t.TempDir()
	writeFolder(t, dir, 1, 5<<20, old, "")
	writeFolder(t, dir, 1, 6<<20, oldFuture.Bytes(), ".partial")
	writeFolder(t, dir, 2, 6<<20, b.Bytes()[1<<20:], ".partial")
	lines, result, err := dump(t, WaldumpOptions{Folder: dir})
	require.NoError(t, err)
	require.Contains(t, lines[len(lines)-1], last.String()[2:])
	require.True(t, walrecord.IsEnd(result.Stopped), "%v", result.Stopped)
	require.Equal(t, b.Position(), result.End)

	f, err := OpenWALFolder(dir, 1)
	require.NoError(t, err)
	require.Equal(t, wal.Range{Start: 5 << 20, End: 8 << 20}, f.Range())
}

// TestWaldumpFollows grows a folder as a server does, in steps that end inside
// records, while Waldump waits; and renames the segment when it is full.
func TestWaldumpFollows(t *testing.T) {
	b := walrecordtest.New(walrecordtest.Options{Start: 5 << 20})
	records := 0
	for b.Position() < 7<<20-40000 {
		b.Message(60 + 501*records%30000)
		records++
	}
	dir := t.TempDir()
	whole := b.Bytes()
	written := 0
	grow := func(n int) {
		written = min(len(whole), written+n)
		require.NoError(t, removeAll(dir))
		for off := 0; off < written; off += int(dumpSegment) {
			end := min(written, off+int(dumpSegment))
			suffix := ".partial"
			if end-off == int(dumpSegment) {
				suffix = ""
			}
			writeFolder(t, dir, 1, 5<<20+wal.LSN(off), whole[off:end], suffix)
		}
	}
	grow(100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waits := 0
	var out bytes.Buffer
	result, err := Waldump(ctx, &out, WaldumpOptions{Folder: dir, Follow: func(context.Context, wal.LSN) error {
		if waits++; written == len(whole) {
			cancel()
		}
		grow(70_001)
		return nil
	}})
	require.NoError(t, err)
	require.Equal(t, uint64(records), result.Records)
	require.Equal(t, records, bytes.Count(out.Bytes(), []byte("\n")))
	require.Equal(t, b.Position(), result.End)
	require.Greater(t, waits, 20)
}

func removeAll(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
	}
	return err
}

// TestWaldumpDamage is told from the end of WAL, following or not, and what
// comes before it is printed.
func TestWaldumpDamage(t *testing.T) {
	m, want := realWAL(t)
	m.bytes[1<<20+77777] ^= 4
	gaveUp := errors.New("still no news")
	for _, follow := range []func(context.Context, wal.LSN) error{
		nil, func(context.Context, wal.LSN) error { return gaveUp },
	} {
		lines, result, err := dump(t, WaldumpOptions{Source: m.source(), Follow: follow})
		require.True(t, walrecord.IsCorruption(err), "%v", err)
		require.NotEmpty(t, lines)
		require.Less(t, len(lines), len(want))
		require.Less(t, result.End, m.start+1<<20+77777)
	}
	// Damage in the last page cannot be told from a record on its way.
	b := walrecordtest.New(walrecordtest.Options{Start: 5 << 20})
	b.Message(500)
	b.Message(500)
	b.Bytes()[700] ^= 1
	src := (&memoryWAL{start: b.Start(), bytes: b.Bytes()}).source()
	_, _, err := dump(t, WaldumpOptions{Source: src})
	require.True(t, walrecord.IsCorruption(err))
	_, _, err = dump(t, WaldumpOptions{Source: src, Follow: func(context.Context, wal.LSN) error { return gaveUp }})
	require.ErrorIs(t, err, gaveUp)
}

type brokenWAL struct{ err error }

func (b brokenWAL) ReadAt([]byte, wal.LSN) (int, error) { return 0, b.err }

func TestWaldumpReadErrors(t *testing.T) {
	src := WALSource{SegmentSize: dumpSegment, First: 1 << 20}
	for _, reason := range []error{errors.New("disk on fire"), nil} {
		src.WALReader = brokenWAL{reason}
		_, _, err := dump(t, WaldumpOptions{Source: src})
		require.Error(t, err)
	}
	src.WALReader = brokenWAL{io.EOF}
	_, result, err := dump(t, WaldumpOptions{Source: src})
	require.NoError(t, err)
	require.Zero(t, result.Records)
}
