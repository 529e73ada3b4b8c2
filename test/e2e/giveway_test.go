package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/test/cluster"
)

// TestDeadPageserverAndForgottenSlotGiveWay writes more WAL than the safekeepers'
// disks hold, under pgbench, while a pageserver that is gone for good and a slot
// that nobody reads from hold on to it. They give way, and say so; commits go on.
func TestDeadPageserverAndForgottenSlotGiveWay(t *testing.T) {
	t.Parallel()
	const disk, minFree, round = 160, 64, 24 // MiB
	port, err := compute.FreePort()
	require.NoError(t, err)
	gone := net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
	var keepers []*cluster.Keeper
	var disks []string
	for id := 1; id <= 3; id++ {
		dir := smallDisk(t, disk)
		disks = append(disks, dir)
		keepers = append(keepers, cluster.NewKeeper(t, id, filepath.Join(dir, "data"), "--pageserver", gone,
			"--min-free-disk", fmt.Sprint(minFree, "MiB"), "--wal-keep-size", "16MiB", "--max-slot-wal-keep-size", "48MiB"))
	}
	a := newAttachedTo(t, nil, keepers)
	load := a.startLoad()
	a.attach()
	query := func(k *cluster.Keeper, sql, mode string) []replication.Row {
		t.Helper()
		host, port, _ := strings.Cut(k.PG, ":")
		rows, err := replication.Query(t.Context(), "host="+host+" port="+port+" user=walhaven dbname=x sslmode=disable", sql,
			replication.DialOptions{Params: map[string]string{"replication": mode}})
		require.NoError(t, err, sql)
		return rows
	}
	query(keepers[0], "CREATE_REPLICATION_SLOT forgotten PHYSICAL RESERVE_WAL", "true")

	free := func(dir string) int {
		var st syscall.Statfs_t
		require.NoError(t, syscall.Statfs(dir, &st))
		return int(st.Bavail * uint64(st.Bsize) >> 20)
	}
	for written := 0; written < disk+3*round; written += round {
		// Disks take what comes while they give way: that much was left free for it.
		for i, dir := range disks {
			cluster.Eventually(t, fmt.Sprintf("room on disk %d", i+1), func() bool { return free(dir) > minFree/2+round })
		}
		require.NoError(t, a.pg.Exec(context.Background(), fmt.Sprintf("SELECT pg_logical_emit_message(true, 'much', repeat('x', %d))", round<<20)))
	}
	for i, k := range keepers {
		cluster.Eventually(t, "the pageserver's gap is told", func() bool { return len(query(k, "SHOW GAPS", "false")) == 1 })
		cluster.Eventually(t, "the slot is given up", func() bool {
			slots := query(k, "SHOW SLOTS", "false")
			return len(slots) == 1 && slots[0]["wal_status"] == "lost"
		})
		gap := query(k, "SHOW GAPS", "false")[0]
		require.Equal(t, gone, gap["pageserver"])
		require.NotContains(t, k.Log(), "disk is full", "safekeeper %d", k.ID)
		cluster.Eventually(t, "it is ready", func() bool { code, _ := k.Get("/readyz"); return code == http.StatusOK })
		t.Logf("safekeeper %d: disk of %d MiB, %d free; slot lost; the pageserver lacks %s bytes from %s on", k.ID, disk, free(disks[i]), gap["bytes"], gap["from_lsn"])
	}
	load.end(t, "a dead pageserver and a forgotten slot on disks that run full")
	a.detach("--postgres", a.pg.Conninfo())
}
