package walrecord

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// segmentFile is a WAL segment as it lies in a folder.
type segmentFile struct {
	path  string
	start wal.LSN
}

// folder is a run of consecutive segments of one timeline.
type folder struct {
	size     wal.SegmentSize
	segments []segmentFile
}

// openFolder lists the consecutive segments of dirs, from the lowest on, and
// reads their size from the first page.
func openFolder(t *testing.T, dirs ...string) folder {
	t.Helper()
	paths := map[string]string{}
	for _, dir := range dirs {
		found, err := filepath.Glob(filepath.Join(dir, "????????????????????????"))
		require.NoError(t, err)
		for _, p := range found {
			paths[filepath.Base(p)] = p
		}
	}
	require.NotEmpty(t, paths, "no segments in %v", dirs)
	names := make([]string, 0, len(paths))
	for name := range paths {
		names = append(names, name)
	}
	sort.Strings(names)
	first, err := os.ReadFile(paths[names[0]])
	require.NoError(t, err)
	h, err := ParsePageHeader(first)
	require.NoError(t, err)
	f := folder{size: wal.SegmentSize(h.SegmentSize)}
	for _, name := range names {
		_, no, err := f.size.ParseFileName(name)
		require.NoError(t, err)
		start := f.size.Start(no)
		if n := len(f.segments); n > 0 && start != f.segments[n-1].start+wal.LSN(f.size) {
			break
		}
		f.segments = append(f.segments, segmentFile{paths[name], start})
	}
	return f
}

// scan feeds the folder to feed until WAL ends, and returns the error that
// ended it.
func (f folder) scan(t *testing.T, feed func(at wal.LSN, data []byte) error) error {
	t.Helper()
	for _, seg := range f.segments {
		data, err := os.ReadFile(seg.path)
		require.NoError(t, err)
		if err := feed(seg.start, data); err != nil {
			return err
		}
	}
	return nil
}

// dumpFolder decodes every record and returns one line each, as waldumpLines
// does.
func dumpFolder(t *testing.T, f folder, stats *Stats) (lines []string, end wal.LSN) {
	t.Helper()
	var rec Record
	var r *Reader
	r = NewReader(ScannerOptions{Start: f.segments[0].start, SegmentSize: f.size}, func(start, end wal.LSN, b []byte) error {
		rec.Major = r.Major()
		if err := Decode(b, start, end, &rec); err != nil {
			return err
		}
		require.NotContains(t, Identify(&rec), "UNKNOWN", Describe(&rec))
		stats.Add(&rec)
		lines = append(lines, comparable(Describe(&rec)))
		return nil
	})
	if err := f.scan(t, r.Feed); err != nil {
		require.True(t, IsEnd(err), "%v", err)
	}
	return lines, r.RecordEnd()
}

// comparable keeps of a line what both programs print: everything but the
// description of main data.
func comparable(line string) string {
	head, desc, _ := strings.Cut(line, "desc: ")
	desc, refs, found := strings.Cut(desc, ", blkref #")
	op, _, _ := strings.Cut(desc, " ")
	if found {
		refs = ", blkref #" + refs
	}
	return head + "desc: " + op + refs
}

// waldumpLines runs pg_waldump from the first record of the folder up to end.
func waldumpLines(t *testing.T, program string, f folder, end wal.LSN, args ...string) []string {
	t.Helper()
	dir := filepath.Dir(f.segments[0].path)
	args = append([]string{"-p", dir, "-s", f.segments[0].start.String(), "-e", end.String()}, args...)
	cmd := exec.Command(program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var lines []string
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		lines = append(lines, sc.Text())
	}
	require.NoError(t, sc.Err())
	if len(lines) > 0 && strings.HasPrefix(lines[0], "first record is after") {
		lines = lines[1:]
	}
	return lines
}

func requireSameLines(t *testing.T, want, got []string) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			require.Equal(t, want[i], got[i], "record %d", i)
		}
	}
	require.Len(t, got, len(want))
}

// compareWithWaldump checks every record of the folder, and the statistics,
// against pg_waldump.
func compareWithWaldump(t *testing.T, program string, f folder) {
	t.Helper()
	var stats Stats
	got, end := dumpFolder(t, f, &stats)
	want := waldumpLines(t, program, f, end)
	for i := range want {
		want[i] = comparable(want[i])
	}
	requireSameLines(t, want, got)
	for _, byOp := range []bool{false, true} {
		arg := "--stats"
		if byOp {
			arg = "--stats=record"
		}
		var b bytes.Buffer
		require.NoError(t, stats.WriteTable(&b, byOp))
		require.Equal(t, strings.Join(waldumpLines(t, program, f, end, arg), "\n"), strings.TrimSuffix(b.String(), "\n"))
	}
	t.Logf("%d records up to %s", len(got), end)
}

// TestFolders reads WAL folders that the developer names, separated by colons,
// in WALHAVEN_TEST_WAL, and compares with WALHAVEN_TEST_WALDUMP if that is set.
// A folder may be several directories joined by +.
func TestFolders(t *testing.T) {
	env := os.Getenv("WALHAVEN_TEST_WAL")
	if env == "" {
		t.Skip("WALHAVEN_TEST_WAL names no folders")
	}
	for _, dir := range strings.Split(env, ":") {
		t.Run(dir, func(t *testing.T) {
			f := openFolder(t, strings.Split(dir, "+")...)
			if program := os.Getenv("WALHAVEN_TEST_WALDUMP"); program != "" {
				compareWithWaldump(t, program, f)
				return
			}
			var stats Stats
			lines, end := dumpFolder(t, f, &stats)
			t.Logf("%d records up to %s", len(lines), end)
			var b bytes.Buffer
			require.NoError(t, stats.WriteTable(&b, true))
			t.Log(b.String())
		})
	}
}
