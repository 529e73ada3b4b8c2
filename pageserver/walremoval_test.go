package pageserver

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/wal"
)

// WAL goes once layers have it and neither the window nor a pin needs it: its
// files are removed, what stays is whole, and pages, restarts and pushes go on.
func TestWALThatNobodyNeedsIsRemoved(t *testing.T) {
	o := newOriginOf(t, func(server *compute.Server) {
		for i := range 4 {
			for _, sql := range []string{
				fmt.Sprintf("UPDATE t SET v = 'segment %d' WHERE i <= 3000", i), "SELECT pg_switch_wal()", "CHECKPOINT",
			} {
				_, err := server.Psql(context.Background(), "-c", sql)
				require.NoError(t, err)
			}
		}
	})
	n := readyNode(t, o)
	require.NoError(t, n.timeline.pages.tl.Flush(t.Context()))
	all := n.walFiles()
	require.GreaterOrEqual(t, len(all), 4)
	const size = wal.DefaultSegmentSize
	collect := func() {
		// As if the window ended with the newest commit.
		require.NoError(t, n.timeline.collect(t.Context(), time.Microsecond, time.Now().Add(time.Hour)))
	}

	pin := o.ends[len(o.ends)/8]
	_, err := n.query("PIN 'early' AT '" + pin.String() + "'")
	require.NoError(t, err)
	collect()
	require.Equal(t, all, n.walFiles(), "a restore of the pinned moment begins with the first segment")

	_, err = n.query("UNPIN 'early'")
	require.NoError(t, err)
	collect()
	left := n.walFiles()
	require.Less(t, len(left), len(all))
	require.Equal(t, all[len(all)-len(left):], left, "the newest stay")
	oldest := n.timeline.store.Oldest()
	require.Equal(t, size.FileName(1, size.SegmentNo(oldest)), left[0])
	rows, err := n.query("SHOW WINDOW")
	require.NoError(t, err)
	require.Equal(t, oldest.String(), rows[0]["oldest_wal_lsn"])

	requireLastPages(t, n)
	n.restart()
	require.Equal(t, oldest, n.timeline.store.Oldest())
	require.Equal(t, left, n.walFiles())
	n.eventually(func() bool { return n.status()["pages"] == "active" })
	requireLastPages(t, n)
	n.push(o.end) // All of it is here: a pusher that begins again does no harm.
	require.Equal(t, o.end, n.timeline.store.Positions().WriteRecord)
}

// walFiles are the names of the timeline's segments, in order.
func (n *node) walFiles() (names []string) {
	n.t.Helper()
	paths, err := filepath.Glob(filepath.Join(n.dir, n.timeline.id.Tenant.String(), n.timeline.id.Timeline.String(), "0000*"))
	require.NoError(n.t, err)
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	return names
}
