package safekeeper_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/config"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/safekeeper"
	"github.com/walhaven/walhaven/wal"
)

// WAL goes only below what slots, pageservers, the quorum and --wal-keep-size
// leave over.
func TestRetention(t *testing.T) {
	o := builtOrigin(t, 6<<20)
	ps := startPageserver(t, 9)
	var minFree config.Bytes = 1
	sk := startSafekeeper(t, 1, func(c *safekeeper.Config) {
		pushingTo(ps)(c)
		c.WALKeepSize, c.MaxSlotWALKeepSize, c.MinFreeDisk = 1<<20, 4<<20, minFree
	})
	o.found(t, []*node{sk})
	sk.mustQuery("CREATE_REPLICATION_SLOT s PHYSICAL RESERVE_WAL")
	oldest := func() wal.LSN {
		require.NoError(t, sk.server.RetainNow())
		return sk.lsn("oldest_lsn")
	}
	p := propose(t, sk, o, 1, nil)
	half := o.ends[len(o.ends)/2]
	push := func(end wal.LSN) {
		p.append(end, 0)
		p.waitFlush(end)
		p.truncate = end
		p.append(end, end)
		sk.waitLSN("commit_lsn", end)
	}
	ps.down()
	push(half)
	require.Equal(t, o.from, oldest(), "a configured pageserver that was not heard of holds everything")
	ps.up()
	ps.waitLSN("disk_consistent_lsn", half)
	require.Equal(t, o.from, oldest(), "the slot holds it")

	push(o.end())
	ps.waitLSN("disk_consistent_lsn", o.end())
	sk.hearsOfFlush(o.end())
	// The slot is 6 MiB behind now, and 4 MiB are the limit.
	require.Equal(t, o.from, oldest(), "what is in no object store stays while there is room")
	require.Equal(t, "lost", sk.mustQuery("SHOW SLOTS")[0]["wal_status"])
	minFree = 1 << 60
	sk.restart()
	require.Eventually(t, func() bool { return oldest() == o.segment.SegmentStart(o.end()-1<<20) }, patience, 1e7,
		"without room the pageserver's own disk will do")
	_, err := sk.query("WAL_DIGEST " + o.from.String() + " " + half.String())
	require.Equal(t, "58P01", protocol.SQLState(err))

	sk.restart()
	require.Equal(t, "lost", sk.mustQuery("SHOW SLOTS")[0]["wal_status"], "it stays lost")
	require.Equal(t, o.end(), sk.lsn("commit_lsn"))
}
