package walproposer_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/walproposer"
)

// canceller is a walproposer that keeps a ledger, and has looked at PostgreSQL's log.
type canceller struct {
	*world
	p *proposer
}

func newCanceller(t *testing.T, settings map[string]string, edit func(*world, *walproposer.Options)) *canceller {
	w := newWorld(t, computetest.Options{Settings: settings})
	w.demandQuorum()
	o := w.options()
	o.Ledger = filepath.Join(t.TempDir(), "rpo.jsonl")
	if edit != nil {
		edit(w, &o)
	}
	c := &canceller{w, w.propose(o)}
	c.p.streams()
	return c
}

// says waits until what the walproposer says of cancelled waits begins so.
func (c *canceller) says(begins string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return strings.HasPrefix(c.p.Status().CancelledWaits, begins) }, patience, 20*time.Millisecond,
		"%+v", c.p.Status())
}

// cancel has an INSERT wait for a quorum that is lost, and ends that by function, as an
// administrator does. The row is there, and the commit was not acknowledged by the
// quorum.
func (c *canceller) cancel(row int, function string) {
	c.t.Helper()
	done := c.begin(row)
	require.Eventually(c.t, func() bool {
		n, err := c.pg.QueryValue(c.ctx(), "SELECT count("+function+"(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		return err == nil && n == "1"
	}, patience, 20*time.Millisecond)
	select {
	case err := <-done:
		var ended *pgconn.PgError
		if function == "pg_cancel_backend" {
			require.NoError(c.t, err, "PostgreSQL calls it a success, with a warning")
		} else if err != nil && !errors.As(err, &ended) {
			c.t.Logf("the connection was closed: %v", err)
		}
	case <-time.After(patience):
		c.t.Fatal("the wait was not cancelled")
	}
	n, err := c.pg.QueryValue(c.ctx(), fmt.Sprintf("SELECT count(*) FROM t WHERE i = %d", row))
	require.NoError(c.t, err)
	require.Equal(c.t, "1", n, "it is committed locally")
}

// recorded waits until the ledger has so many waits that were cancelled, and returns
// its intervals of them.
func (c *canceller) recorded(waits int) (list []walproposer.Interval) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		all, err := c.p.Intervals()
		sum := 0
		list = nil
		for _, i := range all {
			var n int
			if _, scan := fmt.Sscanf(i.Reason, "%d wait", &n); scan == nil && strings.Contains(i.Reason, "according to PostgreSQL's log") {
				list, sum = append(list, i), sum+n
			}
		}
		return err == nil && sum == waits
	}, patience, 20*time.Millisecond, "%+v", list)
	return list
}

// both has the quorum lost, a wait cancelled and another terminated: each is in the
// ledger while the quorum is away, and on the safekeepers when it is back.
func (c *canceller) both() {
	c.t.Helper()
	c.says("seen")
	require.NoError(c.t, c.insert(1))
	quorum := c.p.Status().CommitLSN
	c.keepers[1].down()
	c.keepers[2].down()
	c.cancel(2, "pg_cancel_backend")
	i := c.recorded(1)[0]
	require.LessOrEqual(c.t, i.From, c.p.Status().CommitLSN)
	require.Greater(c.t, i.To, quorum, "the commit lies in it")
	require.False(c.t, i.Ended.Before(i.Began))
	require.True(c.t, i.After.Before(i.Began))
	c.cancel(3, "pg_terminate_backend")
	list := c.recorded(2)
	require.Greater(c.t, list[len(list)-1].To, i.To)
	require.Eventually(c.t, func() bool {
		return int(c.p.counter("walhaven_walproposer_unprotected_intervals_total")) == len(list)
	}, patience, 20*time.Millisecond)
	c.keepers[1].up()
	c.keepers[2].up()
	require.Eventually(c.t, func() bool {
		rows, err := c.keepers[1].query(c.world, "SHOW INTERVALS")
		return err == nil && len(rows) == len(list) && rows[len(rows)-1]["to_lsn"] == list[len(list)-1].To.String()
	}, 2*patience, 20*time.Millisecond)
}

// Waits that are cancelled are in the ledger, from each form of log that a logging
// collector writes, and by way of another file.
func TestCancelledWaitsAreRecorded(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"stderr", "csvlog", "jsonlog"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			install := computetest.Find(t, 0)
			if form == "jsonlog" && install.Version.Major < 15 {
				t.Skip("jsonlog came with PostgreSQL 15")
			}
			c := newCanceller(t, map[string]string{"logging_collector": "on", "log_destination": form}, nil)
			c.says("seen")
			c.exec("SELECT pg_rotate_logfile()")
			c.both()
		})
	}
}

// Without a collector it is the file that the walproposer was told.
func TestCancelledWaitsAreRecordedFromAFile(t *testing.T) {
	t.Parallel()
	c := newCanceller(t, map[string]string{"log_error_verbosity": "verbose"}, func(w *world, o *walproposer.Options) { o.PostgresLog = w.pg.LogFile() })
	c.both()
}

// Who may not read the log says so, and goes on.
func TestCancelledWaitsThatAreNotSeen(t *testing.T) {
	t.Parallel()
	c := newCanceller(t, map[string]string{"logging_collector": "on"}, func(w *world, o *walproposer.Options) {
		w.exec("SET synchronous_commit = local; CREATE ROLE modest LOGIN REPLICATION IN ROLE pg_monitor")
		o.Postgres = w.pg.Conninfo() + " user=modest"
	})
	c.says("not seen: permission denied")
	require.NoError(t, c.insert(100))
	c.exec(`GRANT EXECUTE ON FUNCTION pg_current_logfile(), pg_read_binary_file(text, bigint, bigint, boolean) TO modest`)
	c.says("seen")
	c.keepers[1].down()
	c.keepers[2].down()
	c.cancel(2, "pg_cancel_backend")
	c.recorded(1)
	require.NoError(t, c.pg.Set(context.Background(), map[string]string{"log_min_messages": "error"}))
	c.says("not seen: log_min_messages is error")
}
