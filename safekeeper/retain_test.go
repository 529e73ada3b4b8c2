package safekeeper_test

import (
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/safekeeper"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// pushed is a safekeeper that holds all of o's WAL, whose slowest member has it
// up to truncate.
func pushed(t *testing.T, o *origin, sk *node, truncate wal.LSN) *proposer {
	t.Helper()
	o.found(t, []*node{sk})
	p := propose(t, sk, o, 1, nil)
	p.truncate = truncate
	p.append(o.end(), 0)
	p.waitFlush(o.end())
	p.append(o.end(), o.end())
	sk.waitLSN("commit_lsn", o.end())
	return p
}

// A member that is gone, or joins and has nothing, must not fill the disks of
// the others.
func TestMemberThatLagsTooFarHoldsNoWAL(t *testing.T) {
	o := builtOrigin(t, 6<<20)
	sk := startSafekeeper(t, 1, func(c *safekeeper.Config) { c.WALKeepSize, c.MaxSlotWALKeepSize = 1<<20, 2<<20 })
	pushed(t, o, sk, o.start)
	require.NoError(t, sk.server.RetainNow())
	require.Equal(t, o.segment.SegmentStart(o.end()-2<<20), sk.lsn("oldest_lsn"))
}

func TestMemberWithinTheLimitHoldsWAL(t *testing.T) {
	o := builtOrigin(t, 6<<20)
	sk := startSafekeeper(t, 1, func(c *safekeeper.Config) { c.WALKeepSize = 1 << 20 })
	pushed(t, o, sk, o.start)
	require.NoError(t, sk.server.RetainNow())
	require.Equal(t, o.from, sk.lsn("oldest_lsn"))
}

// On a full disk nothing can be written down, and removing WAL is what makes
// room.
func TestFullDiskDoesNotStopRetention(t *testing.T) {
	o := builtOrigin(t, 6<<20)
	var full atomic.Bool
	sk := startSafekeeper(t, 1, func(c *safekeeper.Config) { c.WALKeepSize = 1 << 20 })
	sk.fs = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileWriteAt) {
			return syscall.ENOSPC
		}
		return nil
	}))
	sk.restart()
	pushed(t, o, sk, o.end())
	require.NoError(t, sk.server.CheckpointNow())
	full.Store(true)
	sk.server.MovePositions()
	err := sk.server.RetainNow()
	require.True(t, walstore.IsDiskFull(err), "%v", err)
	require.Equal(t, o.segment.SegmentStart(o.end()-1<<20), sk.lsn("oldest_lsn"))

	full.Store(false)
	require.NoError(t, sk.server.RetainNow())
}
