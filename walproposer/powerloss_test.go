package walproposer_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/safekeeper"
	"github.com/walhaven/walhaven/test/powerloss"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// TestPowerLoss cuts the power of PostgreSQL and of all three safekeepers at
// once, in the middle of commits: what was not fsynced is gone. Everything that
// was acknowledged must be within what the quorum then settles on. Without the
// fsyncs, its negative control, it must not.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for i, noSync := range []bool{false, true, false, true} {
		early := i >= 2
		t.Run(fmt.Sprintf("no-sync=%v early=%v", noSync, early), func(t *testing.T) {
			t.Parallel()
			acknowledged, settled := losePower(t, noSync, early)
			t.Logf("acknowledged up to %s, settled at %s", acknowledged, settled)
			if noSync {
				require.Less(t, settled, acknowledged, "the control: fsync skipped, and nothing was missed")
				return
			}
			require.GreaterOrEqual(t, settled, acknowledged, "acknowledged commits are lost")
		})
	}
}

// losePower returns the end of the last acknowledged commit and where the
// quorum ends after the power came back.
func losePower(t *testing.T, noSync, early bool) (acknowledged, settled wal.LSN) {
	w := &world{t: t, pg: computetest.New(t, computetest.Options{}), id: wal.TTID{Tenant: wal.TenantID{1: 7}, Timeline: wal.TimelineID{2: 9}}}
	var disks []*powerloss.FS
	for id := range uint64(3) {
		k := &keeper{t: t, id: id + 1, dir: t.TempDir(), addr: ownLoopback() + ":0"}
		disks = append(disks, k.upOn(noSync))
		w.keepers = append(w.keepers, k)
		t.Cleanup(k.cut)
	}
	w.found()
	w.exec("CREATE TABLE t (i int PRIMARY KEY, v text)")
	o := w.options()
	o.EarlyPush = walproposer.EarlyPushOff
	if early {
		o.EarlyPush = walproposer.EarlyPushOn
	}
	p := w.propose(o)
	p.streams()
	w.demandQuorum()
	if early {
		w.awaitEarly(p)
	}
	acknowledged = w.commitUntil(150, func() {
		for _, d := range disks {
			_, err := d.Lose()
			require.NoError(t, err)
		}
		require.NoError(t, w.pg.Kill())
	})
	p.cancel()
	_ = p.wait() // its server died: whatever it says of that is fine
	for _, k := range w.keepers {
		k.cut()
		k.upOn(false)
	}
	settled, err := walproposer.Sync(w.ctx(), walproposer.SyncOptions{
		Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline, Logger: testLogger(t),
	})
	if noSync && err != nil {
		return acknowledged, 0 // it may have noticed that committed WAL is missing
	}
	require.NoError(t, err)
	return acknowledged, settled
}

// upOn starts the safekeeper on a disk that can lose power.
func (k *keeper) upOn(noSync bool) *powerloss.FS {
	k.t.Helper()
	ln, err := net.Listen("tcp", k.addr)
	require.NoError(k.t, err)
	k.addr = ln.Addr().String()
	c := safekeeper.DefaultConfig()
	c.ID, c.DataDir = k.id, k.dir
	disk := powerloss.New()
	s, err := safekeeper.New(safekeeper.Options{
		Config: c, Auth: auth.Policy{}, Logger: testLogger(k.t).With("sk", k.id), FS: disk, NoSync: noSync,
	})
	require.NoError(k.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel, k.done = cancel, make(chan error, 1)
	go func() { k.done <- s.Run(ctx, ln) }()
	return disk
}

// cut ends the safekeeper without a word about what its disk then refuses.
func (k *keeper) cut() {
	if k.cancel == nil {
		return
	}
	k.cancel()
	k.cancel = nil
	<-k.done
}

// commitUntil commits rows over several connections until n were acknowledged,
// calls end beside them, waits until the connections broke, and returns the
// highest position that an acknowledged commit ended at.
func (w *world) commitUntil(n int, end func()) (high wal.LSN) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx())
	defer cancel()
	enough := make(chan struct{})
	var mu sync.Mutex
	count := 0
	acknowledge := func(at wal.LSN) {
		mu.Lock()
		defer mu.Unlock()
		high = max(high, at)
		if count++; count == n {
			close(enough)
		}
	}
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() { w.commits(ctx, c<<20, acknowledge) })
	}
	select {
	case <-enough:
	case <-ctx.Done():
	}
	end()
	wg.Wait()
	require.GreaterOrEqual(w.t, count, n, "acknowledged commits")
	return high
}

// commits inserts rows on one connection until it breaks. The position is read
// inside the transaction, so it is at or below the commit record.
func (w *world) commits(ctx context.Context, i int, acknowledge func(wal.LSN)) {
	conn, err := w.pg.Connect(ctx, "postgres")
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for {
		i++
		sql := fmt.Sprintf("BEGIN; INSERT INTO t VALUES (%d, repeat('x', 100)); SELECT pg_current_wal_insert_lsn(); COMMIT", i)
		results, err := conn.Exec(ctx, sql).ReadAll()
		if err != nil {
			return
		}
		at, err := wal.ParseLSN(string(results[2].Rows[0][0]))
		if err != nil {
			return
		}
		acknowledge(at)
	}
}
