package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/test/cluster"
)

// smallDisk mounts a file system of so many MiB, which needs root.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := filepath.Join(computetest.TempDir(t), "disk")
	require.NoError(t, os.Mkdir(dir, 0o755))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", mib)); err != nil {
		t.Skipf("a small file system cannot be mounted here (%v); package safekeeper tests the same with injected errors", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

// fill writes a file until the disk is full.
func fill(t *testing.T, dir string) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else {
			require.NoError(t, err)
		}
	}
	return ballast
}

// TestFullDiskOnOneSafekeeper fills the disk of one safekeeper under a running
// server: it stops acknowledging and says so, the others carry on, and it catches
// up when space is back.
func TestFullDiskOnOneSafekeeper(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 256)
	a := newAttached(t, nil)
	// It keeps all WAL, so that it cannot make room by itself.
	small := cluster.NewKeeper(t, 1, filepath.Join(disk, "data"), "--min-free-disk", "8MiB", "--wal-keep-size", "1GiB")
	old := a.keepers[0]
	old.Kill()
	a.keepers[0] = small
	for i, arg := range a.args {
		a.args[i] = strings.ReplaceAll(arg, old.PG, small.PG)
	}
	a.attach()
	var code int
	var body string
	cluster.Eventually(t, "it is ready", func() bool { code, body = small.Get("/readyz"); return code == http.StatusOK })
	ctx := context.Background()
	require.NoError(t, a.pg.Exec(ctx, "CREATE TABLE t (v text)"))
	writeWAL := func() {
		t.Helper()
		require.NoError(t, a.pg.Exec(ctx, "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 25000)"))
	}
	writeWAL()

	ballast := fill(t, disk)
	for range 3 { // more than the segments that were prepared ahead
		writeWAL()
	}
	c, err := operator.LoadCluster(filepath.Join(a.dir, operator.ClusterFile))
	require.NoError(t, err)
	status := func() *operator.Status { return c.CollectStatus(ctx) }
	cluster.Eventually(t, "the full safekeeper stops", func() bool {
		s := status()
		return s.Safekeepers[0].LagBytes > 32<<20 && s.Safekeepers[1].LagBytes == 0 && s.Safekeepers[2].LagBytes == 0
	})
	cluster.Eventually(t, "/readyz says so", func() bool {
		code, body = small.Get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "disk")
	})
	t.Log(body)
	cluster.Eventually(t, "nothing is free", func() bool {
		_, text := small.Get("/metrics")
		return strings.Contains(text, "\nwalhaven_safekeeper_disk_free_bytes 0\n")
	})
	cluster.Eventually(t, "the log says so", func() bool { return strings.Contains(small.Log(), "disk is full") })
	for line := range strings.Lines(small.Log()) {
		if strings.Contains(line, "disk is full") {
			t.Log(line)
			break
		}
	}
	full := status().Safekeepers[0].FlushLSN
	writeWAL() // and the others carry on
	require.Equal(t, full, status().Safekeepers[0].FlushLSN, "it acknowledges nothing that it does not have")

	require.NoError(t, os.Remove(ballast))
	cluster.Eventually(t, "it catches up", func() bool {
		s := status()
		return s.State == operator.StateSafe && s.Safekeepers[0].FlushLSN > full && s.Safekeepers[0].LagBytes == 0
	})
	cluster.Eventually(t, "it is ready again", func() bool { code, _ := small.Get("/readyz"); return code == http.StatusOK })
	sameWAL(t, c, small.Dir, a.keepers[1].Dir)
	a.detach("--postgres", a.pg.Conninfo())
}

// sameWAL compares the segments that two safekeepers have both. Either may
// remove what it need not keep meanwhile.
func sameWAL(t *testing.T, c *operator.Cluster, one, other string) {
	t.Helper()
	dir := func(data string) string { return filepath.Join(data, c.Tenant.String(), c.Timeline.String()) }
	files, err := filepath.Glob(filepath.Join(dir(one), "0000000*"))
	require.NoError(t, err)
	compared := 0
	for _, file := range files {
		if strings.HasSuffix(file, ".partial") {
			continue
		}
		left, errLeft := os.ReadFile(file)
		right, errRight := os.ReadFile(filepath.Join(dir(other), filepath.Base(file)))
		err := errors.Join(errLeft, errRight)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		require.True(t, bytes.Equal(left, right), filepath.Base(file))
		compared++
	}
	require.Positive(t, compared)
}
