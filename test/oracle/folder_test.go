package oracle

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/baseimport"
	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/pageread"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Backups in each format of pg_basebackup lead to the pages that a standby has, and
// the folder of a stopped server to those in it. PG chooses the version.
func TestImportFromFolders(t *testing.T) {
	ctx := context.Background()
	server := computetest.New(t, computetest.Options{Settings: map[string]string{"wal_keep_size": "2GB", "max_wal_senders": "5"}})
	psql := func(sql string) {
		t.Helper()
		for _, statement := range statements(sql) {
			_, err := server.Psql(ctx, "-c", statement)
			require.NoError(t, err, statement)
		}
	}
	psql(workload)
	copied := filepath.Join(computetest.TempDir(t), "copied")
	require.NoError(t, server.BaseBackup(ctx, copied, "-X", "none"))
	forms := map[string][]string{"plain": nil, "tar": {"-F", "t"}, "tar.gz": {"-F", "t", "-z"}}
	dirs := map[string]string{}
	for form, args := range forms {
		dirs[form] = filepath.Join(computetest.TempDir(t), "backup")
		require.NoError(t, server.BaseBackup(ctx, dirs[form], append([]string{"-X", "none"}, args...)...), form)
	}
	psql(changes)
	psql("CHECKPOINT")
	kinds := Catalog(t, server)
	version, err := server.QueryValue(ctx, "SHOW server_version_num")
	require.NoError(t, err)
	text, err := server.QueryValue(ctx, "SELECT pg_current_wal_insert_lsn()")
	require.NoError(t, err)
	lsn, err := wal.ParseLSN(text)
	require.NoError(t, err)
	psql("UPDATE t SET v = 'last' WHERE id % 7 = 0")
	require.NoError(t, server.Stop(ctx, compute.Fast))
	standby := stopAt(t, server, copied, lsn)
	dirs["stopped"] = server.DataDir()
	for form, dir := range dirs {
		t.Run(form, func(t *testing.T) {
			tl := newTimeline(t)
			base, end := load(t, tl, func(sink baseimport.Sink) (baseimport.End, error) { return baseimport.FromFolder(ctx, dir, sink) })
			floor := max(end.Stop, base.Start)
			require.Equal(t, form == "stopped", end.Stop == 0)
			if form != "stopped" {
				replay(t, tl, server, walrecord.Major(number(t, version)))
			}
			reader := pageread.New(pageread.Options{
				Timeline: tl, Position: pageread.NewPosition(tl.LastLSN()), Cache: pageread.NewCache(32<<20, nil), Floor: floor, WaitTimeout: time.Second,
			})
			there, at := standby, lsn
			if form == "stopped" {
				there, at = dir, base.Start
			}
			result := Compare(t, there, kinds, Reader(t, reader, at))
			t.Log(result)
			require.Zero(t, result.Differ+result.Refused, result.String())
			require.Greater(t, result.Blocks, 2000)
		})
	}
}

// What initdb has just made is a base, too, and every page of it is there.
func TestImportOfAnEmptyCluster(t *testing.T) {
	ctx := context.Background()
	server := computetest.New(t, computetest.Options{NoStart: true})
	empty := filepath.Join(computetest.TempDir(t), "empty")
	out, err := exec.Command("cp", "-a", server.DataDir(), empty).CombinedOutput()
	require.NoError(t, err, "%s", out)
	tl := newTimeline(t)
	base, end := load(t, tl, func(sink baseimport.Sink) (baseimport.End, error) { return baseimport.FromFolder(ctx, empty, sink) })
	require.Zero(t, end.Stop)
	require.NoError(t, server.Start(ctx, compute.StartOptions{}))
	reader := pageread.New(pageread.Options{
		Timeline: tl, Position: pageread.NewPosition(tl.LastLSN()), Cache: pageread.NewCache(32<<20, nil), Floor: base.Start, WaitTimeout: time.Second,
	})
	result := Compare(t, empty, Catalog(t, server), Reader(t, reader, base.Start))
	t.Log(result)
	require.Zero(t, result.Differ+result.Refused, result.String())
	require.Greater(t, result.Blocks, 2000)
}
