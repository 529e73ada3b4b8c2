package safekeeper_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/config"
	"github.com/walhaven/walhaven/safekeeper"
)

// A pageserver that is dead holds WAL until the disk runs full, and no longer.
// What it lacks then is written down before it goes, and told until it has it.
func TestDeadPageserverGivesWayToAFullDisk(t *testing.T) {
	o := builtOrigin(t, 6<<20)
	ps := startPageserver(t, 9)
	var minFree config.Bytes = 1
	sk := startSafekeeper(t, 1, func(c *safekeeper.Config) {
		pushingTo(ps)(c)
		c.WALKeepSize, c.MinFreeDisk = 1<<20, minFree
	})
	o.found(t, []*node{sk})
	p := propose(t, sk, o, 1, nil)
	half := o.ends[len(o.ends)/2]
	p.append(half, 0)
	p.waitFlush(half)
	p.append(half, half)
	ps.waitLSN("disk_consistent_lsn", half)
	sk.hearsOfFlush(half)
	ps.down()
	p.append(o.end(), half)
	p.waitFlush(o.end())
	p.truncate = o.end()
	p.append(o.end(), o.end())
	sk.waitLSN("commit_lsn", o.end())
	require.NoError(t, sk.server.RetainNow())
	require.Equal(t, o.from, sk.lsn("oldest_lsn"), "there is room")
	require.Empty(t, sk.mustQuery("SHOW GAPS"))

	p.close()
	minFree = 1 << 60
	sk.restart()
	want := o.segment.SegmentStart(o.end() - 1<<20)
	require.Eventually(t, func() bool { return sk.server.RetainNow() == nil && sk.lsn("oldest_lsn") == want }, patience, 10*time.Millisecond)
	gaps := sk.mustQuery("SHOW GAPS")
	require.Len(t, gaps, 1)
	require.Equal(t, ps.addr, gaps[0]["pageserver"])
	require.Equal(t, want.String(), gaps[0]["to_lsn"])
	families, err := sk.metrics.Gather()
	require.NoError(t, err)
	exported := 0.0
	for _, f := range families {
		if f.GetName() == "walhaven_safekeeper_pageserver_gap_bytes" {
			exported = f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	require.Equal(t, gaps[0]["bytes"], strconv.FormatFloat(exported, 'f', 0, 64))
	sk.restart()
	require.Equal(t, gaps, sk.mustQuery("SHOW GAPS"), "it is on disk")

	// The pageserver comes back: it is told that it cannot go on from here.
	ps.up()
	require.Eventually(t, func() bool {
		return strings.Contains(sk.mustQuery("SHOW SENDERS")[0]["error"], "the oldest here is "+want.String())
	}, patience, 10*time.Millisecond)
	require.NoError(t, sk.server.RetainNow())
	require.Len(t, sk.mustQuery("SHOW GAPS"), 1)
}
