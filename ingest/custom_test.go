package ingest

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

const (
	customSource = "testdata/custom/custom_rmgr.c"
	customGolden = "testdata/custom/pg15.wal.zst"
	customNumber = 4711 // is stamped first, the next one then
)

// Records of an extension's resource manager as a server wrote them are kept and
// reported, and pages that need them are refused by name until an image follows.
func TestCustomResourceManager(t *testing.T) {
	packed := readFile(t, customGolden)
	d, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer d.Close()
	content, err := d.DecodeAll(packed, nil)
	require.NoError(t, err)
	h, err := walrecord.ParsePageHeader(content)
	require.NoError(t, err)
	ingestCustom(t, 15, h.PageStart, content)
}

// TestCustomResourceManagerOracle builds the resource manager for the PostgreSQL of
// this test, and compares the page that it changed with the server's file. It needs
// a C compiler and the server's headers. UPDATE_GOLDEN=1 keeps 15's WAL for the
// test above.
func TestCustomResourceManagerOracle(t *testing.T) {
	install := computetest.Find(t, 0)
	major := install.Version.Major
	if major < 15 {
		t.Skip("extensions have resource managers since PostgreSQL 15")
	}
	library := buildCustom(t, install)
	ctx := t.Context()
	const size = wal.SegmentSize(1 << 20)
	server := computetest.New(t, computetest.Options{
		Major: major, SegmentSize: size, Settings: map[string]string{"shared_preload_libraries": library, "max_wal_size": "1GB"},
	})
	run := func(statements ...string) {
		for _, s := range statements {
			require.NoError(t, server.Exec(ctx, s), s)
		}
	}
	run("CREATE FUNCTION note(text) RETURNS int8 AS '"+library+"', 'custom_note' LANGUAGE C",
		"CREATE FUNCTION stamp(regclass, int) RETURNS int8 AS '"+library+"', 'custom_stamp' LANGUAGE C",
		"CREATE TABLE stamped (i int)", "INSERT INTO stamped VALUES (1)", "SELECT pg_switch_wal()", "CHECKPOINT")
	from := queryLSN(t, server, "SELECT redo_lsn FROM pg_control_checkpoint()")
	run("SELECT note('of no block')", "SELECT stamp('stamped', 4711)", "SELECT stamp('stamped', 4712)",
		"INSERT INTO stamped VALUES (2)", "CHECKPOINT", "INSERT INTO stamped VALUES (3)")
	end := queryLSN(t, server, "SELECT pg_current_wal_insert_lsn()")
	path, err := server.QueryValue(ctx, "SELECT pg_relation_filepath('stamped')")
	require.NoError(t, err)
	require.NoError(t, server.Stop(ctx, compute.Fast))
	start := size.SegmentStart(from)
	require.Equal(t, start, size.SegmentStart(end), "it is one segment")
	content := readFile(t, filepath.Join(server.DataDir(), "pg_wal", size.FileName(1, size.SegmentNo(start))))[:end-start]
	if os.Getenv("UPDATE_GOLDEN") != "" && major == 15 {
		w, err := zstd.NewWriter(nil)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(customGolden, w.EncodeAll(content, nil), 0o644)) //nolint:gosec // It is to be committed.
	}
	got := ingestCustom(t, major, start, content)
	want := (*page.Page)(readFile(t, filepath.Join(server.DataDir(), path)))
	page.MaskHeap(got, 0, true)
	page.MaskHeap(want, 0, true)
	require.Equal(t, want, got)
}

func queryLSN(t testing.TB, server *compute.Server, query string) wal.LSN {
	t.Helper()
	text, err := server.QueryValue(t.Context(), query)
	require.NoError(t, err)
	lsn, err := wal.ParseLSN(text)
	require.NoError(t, err)
	return lsn
}

// buildCustom makes the shared library.
func buildCustom(t *testing.T, install compute.Install) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no C compiler here")
	}
	major := strconv.Itoa(install.Version.Major)
	var headers string
	for _, dir := range []string{
		filepath.Join(install.BinDir, "../include/server"), "/usr/include/postgresql/" + major + "/server",
		filepath.Join(compute.ToolsDir(), "pgheaders/usr/include/postgresql", major, "server"),
	} {
		if _, err := os.Stat(filepath.Join(dir, "access/xlog_internal.h")); err == nil {
			headers = dir
		}
	}
	if headers == "" {
		t.Skip("no headers of PostgreSQL's server here; scripts/pgheaders.sh brings them")
	}
	library := filepath.Join(computetest.TempDir(t), "custom_rmgr.so")
	out, err := exec.CommandContext(t.Context(), gcc, "-shared", "-fPIC", "-Wall", "-Werror", "-I"+headers, "-o", library, customSource).CombinedOutput()
	require.NoError(t, err, string(out))
	return library
}

// ingestCustom ingests WAL from a segment's start on, looks at what became of the
// resource manager's records, and returns the page that they changed as it is in
// the end.
func ingestCustom(t *testing.T, major int, start wal.LSN, content []byte) *page.Page {
	t.Helper()
	begin := firstRecord(t, start, content)
	h, err := walrecord.ParsePageHeader(content)
	require.NoError(t, err)
	var custom []walrecord.Record
	seen := walrecord.NewReader(walrecord.ScannerOptions{Start: begin, SegmentSize: fixtureSegment}, func(start, end wal.LSN, rec []byte) error {
		r := walrecord.Record{Major: major}
		if rec[17] == 128 {
			require.NoError(t, walrecord.Decode(bytes.Clone(rec), start, end, &r))
			custom = append(custom, r)
		}
		return nil
	})
	if err := seen.Feed(begin, content[begin-start:]); err != nil {
		require.True(t, walrecord.IsEnd(err), "%v", err)
	}
	require.Len(t, custom, 3)
	note, first, second := &custom[0], &custom[1], &custom[2]
	require.Equal(t, "of no block", string(note.MainData))
	require.True(t, first.Blocks[0].HasImage)
	require.False(t, second.Blocks[0].HasImage)

	_, tl := newStore(t, t.TempDir(), begin-1, pagestore.Options{})
	base(t, tl, begin, emptyControl(controlVersions[major], h.SystemID))
	var log bytes.Buffer
	in, err := New(t.Context(), tl, Options{PGVersion: uint32(major), SegmentSize: fixtureSegment, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	if err := in.Feed(t.Context(), begin, content[begin-start:]); err != nil {
		require.True(t, walrecord.IsEnd(err), "%v", err)
	}
	require.InDelta(t, 3, testutil.ToFloat64(in.o.Metrics.custom), 0)
	require.Equal(t, 1, strings.Count(log.String(), "custom resource manager"), log.String())

	var (
		v pagestore.Value
		r pagekey.Replayer
		p page.Page
	)
	key := pagekey.Block(first.Blocks[0].Rel, walrecord.ForkMain, 0)
	at := func(lsn wal.LSN) error {
		require.NoError(t, tl.Get(t.Context(), key, lsn, &v))
		return r.Page(key, &v, &p)
	}
	require.NoError(t, at(first.End), "the record's image answers")
	require.EqualValues(t, customNumber, binary.LittleEndian.Uint32(p[20:]), "pd_prune_xid")
	require.ErrorContains(t, at(second.End), "record at "+second.Start.String()+" belongs to the custom resource manager 128")
	var kept walrecord.Record
	_, _, ok, err := pagekey.DecodeRecord(v.Deltas[0].Record, v.Deltas[0].LSN, &kept)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, second.MainData, kept.MainData)
	require.EqualValues(t, customNumber+1, binary.LittleEndian.Uint32(kept.MainData))
	require.NoError(t, at(tl.LastLSN()), "an image follows")
	return &p
}
