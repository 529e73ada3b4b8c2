package walproposer_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// attempts bounds how often a setting is changed and taken back until no look came
// between the two.
const attempts = 20

// lapse has a commit return between set and back, while there is no quorum, until the
// ledger has it from PostgreSQL's log alone. It returns that interval; each time once
// says that there is one interval more, be it from the log or from a look.
func (c *canceller) lapse(row *int, once bool, set, back func()) (last walproposer.Interval) {
	c.t.Helper()
	for range attempts {
		before, err := c.p.Intervals()
		require.NoError(c.t, err)
		start := c.written()
		set()
		require.NoError(c.t, c.insert(*row), "it does not wait")
		end := c.written()
		back()
		*row++
		require.Greater(c.t, end, start)
		var all []walproposer.Interval
		require.Eventually(c.t, func() bool {
			all, err = c.p.Intervals()
			return err == nil && len(all) > len(before) && !all[len(all)-1].Ended.IsZero()
		}, patience, 20*time.Millisecond)
		last = all[len(all)-1]
		if once {
			require.Len(c.t, all, len(before)+1)
		}
		require.LessOrEqual(c.t, last.From, start)
		require.GreaterOrEqual(c.t, last.To, end)
		if strings.Contains(last.Reason, "for a while, according to PostgreSQL's log") {
			require.True(c.t, last.After.Before(last.Ended))
			return last
		}
	}
	c.t.Fatalf("a look came in between %d times", attempts)
	return last
}

// written is where the server's WAL ends.
func (c *canceller) written() wal.LSN {
	c.t.Helper()
	return computetest.LSN(c.t, c.pg, "SELECT pg_current_wal_insert_lsn()")
}

func (c *canceller) set(name, value string) func() {
	return func() {
		c.t.Helper()
		require.NoError(c.t, c.pg.Set(c.ctx(), map[string]string{name: value}))
	}
}

// alter is ALTER SYSTEM with a reload behind it.
func (c *canceller) alter(sql string) func() {
	return func() {
		c.t.Helper()
		c.exec("ALTER SYSTEM " + sql)
		require.NoError(c.t, c.pg.Reload(c.ctx()))
	}
}

// lapses has a setting changed and taken back between two looks.
func (c *canceller) lapses(once bool, change, back func(), reason string) {
	c.t.Helper()
	c.says("seen")
	require.NoError(c.t, c.insert(1))
	c.keepers[1].down()
	c.keepers[2].down()
	row := 2
	i := c.lapse(&row, once, change, back)
	require.Contains(c.t, i.Reason, reason)
	c.keepers[1].up()
	c.keepers[2].up()
	require.Eventually(c.t, func() bool {
		rows, err := c.keepers[1].query(c.world, "SHOW INTERVALS")
		return err == nil && len(rows) > 0 && rows[len(rows)-1]["reason"] == i.Reason
	}, 2*patience, 20*time.Millisecond)
}

// A setting that is changed and taken back between two looks is in the ledger, from each
// form of log that a logging collector writes, and in the ways there are to change it.
func TestSettingsTakenBackAreRecorded(t *testing.T) {
	t.Parallel()
	for form, change := range map[string]string{"stderr": "SET synchronous_standby_names = ''", "csvlog": "SET synchronous_commit = local", "jsonlog": "SET synchronous_commit = off"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			if form == "jsonlog" && computetest.Find(t, 0).Version.Major < 15 {
				t.Skip("jsonlog came with PostgreSQL 15")
			}
			c := newCanceller(t, map[string]string{"logging_collector": "on", "log_destination": form}, nil)
			name, value, _ := strings.Cut(strings.TrimPrefix(change, "SET "), " = ")
			c.lapses(false, c.alter(change), c.alter("RESET "+name), name+" was "+value+" for a while")
		})
	}
}

// So it is from a file, which has each line before the setting is in force; and what the
// looks have seen is not recorded twice.
func TestSettingsTakenBackAreRecordedOnce(t *testing.T) {
	t.Parallel()
	c := newCanceller(t, nil, func(w *world, o *walproposer.Options) { o.PostgresLog = w.pg.LogFile() })
	c.lapses(true, c.set("synchronous_standby_names", ""), c.set("synchronous_standby_names", "walhaven"), "synchronous_standby_names was '' for a while")
	before, err := c.p.Intervals()
	require.NoError(t, err)
	c.set("synchronous_standby_names", "")()
	seen := func(over bool) {
		t.Helper()
		require.Eventually(t, func() bool {
			all, err := c.p.Intervals()
			return err == nil && len(all) == len(before)+1 && !all[len(before)].Ended.IsZero() == over
		}, patience, 20*time.Millisecond)
	}
	seen(false)
	c.set("synchronous_standby_names", "walhaven")()
	seen(true)
	c.keepers[1].down()
	c.keepers[2].down()
	row := 100
	c.lapse(&row, true, c.set("synchronous_standby_names", ""), c.set("synchronous_standby_names", "walhaven"))
	all, err := c.p.Intervals()
	require.NoError(t, err)
	require.Len(t, all, len(before)+1+row-100, "%+v", all)
}

// While the walproposer has no connection PostgreSQL does without it when another one of
// its list is connected: that time is in the ledger, of a new process and of a new
// connection.
func TestCommitsWithoutAConnectionAreRecorded(t *testing.T) {
	t.Parallel()
	w, o, p := withLedger(t)
	require.NoError(t, w.insert(1))
	require.NoError(t, w.pg.Set(w.ctx(), map[string]string{"synchronous_standby_names": "FIRST 1 (walhaven, other)"}))
	other, err := w.pg.ReceiveWAL(t.Context(), filepath.Join(computetest.TempDir(t), "wal"), "--synchronous", "-d", "application_name=other")
	require.NoError(t, err)
	defer other.Stop(patience) //nolint:errcheck // It has no say in the end.
	await := func(sql string) {
		t.Helper()
		require.Eventually(t, func() bool {
			v, err := w.pg.QueryValue(w.ctx(), "SELECT count(*) FROM pg_stat_replication WHERE "+sql)
			return err == nil && v == "1"
		}, patience, 20*time.Millisecond, sql)
	}
	await("application_name = 'other' AND sync_state = 'potential'")
	require.NoError(t, w.insert(2))
	p.stop()
	await("application_name = 'other' AND sync_state = 'sync'")
	start := computetest.LSN(t, w.pg, "SELECT pg_current_wal_insert_lsn()")
	require.NoError(t, w.insert(3), "the other one is enough")
	end := computetest.LSN(t, w.pg, "SELECT pg_current_wal_insert_lsn()")
	recorded := func(n int) (last walproposer.Interval) {
		t.Helper()
		require.Eventually(t, func() bool {
			all, err := p.Intervals()
			if err != nil || len(all) < n {
				return false
			}
			last = all[len(all)-1]
			return !last.Ended.IsZero()
		}, patience, 20*time.Millisecond)
		require.Contains(t, last.Reason, "others can acknowledge")
		return last
	}
	p = w.propose(o)
	i := recorded(1)
	require.LessOrEqual(t, i.From, start)
	require.GreaterOrEqual(t, i.To, end)

	all, err := p.Intervals()
	require.NoError(t, err)
	await("application_name = 'walhaven' AND sync_state = 'sync'")
	w.exec(fmt.Sprintf("SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = '%s'", walproposer.ApplicationName))
	recorded(len(all) + 1)
}
