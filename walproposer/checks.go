package walproposer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/internal/syncrep"
	"github.com/walhaven/walhaven/replication"
)

// checkEvery is the pause between looks at PostgreSQL's settings, recheckEvery
// while something is wrong with them.
const (
	checkEvery   = 5 * time.Second
	recheckEvery = time.Second
)

// probeAfter limits probes that PostgreSQL's questions provoke.
const probeAfter = time.Second

// facts is one row of all that has to hold in PostgreSQL.
const facts = `SELECT current_setting('fsync') AS fsync,
	current_setting('full_page_writes') AS full_page_writes,
	current_setting('synchronous_commit') AS synchronous_commit,
	current_setting('synchronous_standby_names') AS names,
	current_setting('logging_collector') AS logging_collector,
	current_setting('log_min_messages') AS log_min_messages,
	current_setting('lc_messages') AS lc_messages,
	(SELECT short_desc FROM pg_settings WHERE name = 'fsync') AS short_desc,
	CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn() END AS insert_lsn,
	(SELECT count(*) FROM pg_stat_replication WHERE application_name = '%[1]s') AS sessions,
	(SELECT string_agg(sync_state, ',') FROM pg_stat_replication WHERE application_name = '%[1]s' AND pid = %[2]d) AS sync_state,
	(SELECT count(*) FROM pg_stat_replication WHERE application_name <> '%[1]s' AND sync_state IN ('sync', 'quorum')) AS others,
	(SELECT json_agg(application_name) FROM pg_stat_replication WHERE application_name <> '%[1]s' AND state <> 'backup') AS standbys,
	(SELECT wal_status FROM pg_replication_slots WHERE slot_name = '%[3]s') AS wal_status,
	(SELECT safe_wal_size FROM pg_replication_slots WHERE slot_name = '%[3]s') AS safe_wal_size`

// watchServer looks at PostgreSQL now and every 5 s, and ends the session some
// time after it has begun to shut down without the quorum's help.
func (s *session) watchServer(ctx context.Context) error {
	next := time.NewTimer(checkEvery)
	defer next.Stop()
	var giveUp <-chan time.Time
	probe := s.tap.probe
	for {
		err := s.check(ctx)
		last := time.Now()
		next.Reset(checkEvery)
		if err != nil || s.wrong != "" || s.serverLog.behind {
			next.Reset(recheckEvery)
		}
		if isShuttingDown(err) && giveUp == nil {
			s.logger.Info("PostgreSQL is shutting down", "grace", s.o.ShutdownGrace)
			grace := time.NewTimer(s.o.ShutdownGrace)
			defer grace.Stop()
			giveUp = grace.C
			probe = nil // the answer is known, and the grace is not to be exceeded
		}
		select {
		case <-next.C:
		case <-probe:
			if err := pause.For(ctx, max(0, probeAfter-time.Since(last))); err != nil {
				return err
			}
		case <-giveUp:
			return errors.New("PostgreSQL shuts down and the quorum does not have its last WAL")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// check asks PostgreSQL once and publishes what is wrong.
func (s *session) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkEvery)
	defer cancel()
	c, err := connectSQL(ctx, s.o.origin())
	if err != nil {
		s.state.checked(err.Error())
		return err
	}
	defer c.Close() //nolint:errcheck // Nothing was left undone on it.
	row, err := one(ctx, c, fmt.Sprintf(facts, ApplicationName, s.pid, s.o.Slot))
	if err == nil && s.o.DisposableCompute {
		var where replication.Row
		where, err = one(ctx, c, whereabouts)
		maps.Copy(row, where)
	}
	if err != nil {
		s.state.checked(err.Error())
		return err
	}
	if room, err := strconv.ParseFloat(row["safe_wal_size"], 64); err == nil {
		s.metrics.slotRoom.Set(room)
	} else {
		s.metrics.slotRoom.Set(-1)
	}
	s.keepLedger(row)
	wrong := strings.Join(findings(row, s.o.DisposableCompute), "; ")
	s.state.checked(wrong)
	if wrong != s.wrong && wrong != "" {
		s.logger.Warn("PostgreSQL is not set up for safe commits", "findings", wrong)
	}
	s.wrong = wrong
	s.keepLog(ctx, c, row) // the last question: it may have taken the connection
	return nil
}

// findings lists what is wrong, in words for an operator. fsync may be off where
// the server is disposable, in a directory that is marked for it.
func findings(row replication.Row, disposable bool) (wrong []string) {
	add := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	add(row["names"] == "", "synchronous_standby_names is empty: commits do not wait for the quorum; set it to '%s'", ApplicationName)
	add(row["names"] != "" && row["sync_state"] != "sync" && row["sync_state"] != "quorum",
		"walproposer's replication state is %q, not sync: synchronous_standby_names is '%s'", row["sync_state"], row["names"])
	others, enough := standIns(row)
	add(enough, "%d others can acknowledge commits in the walproposer's place: with synchronous_standby_names = '%s' commits do not wait for the quorum; set it to '%s'",
		others, row["names"], ApplicationName)
	add(row["sessions"] != "1" && row["sessions"] != "0", "%s sessions are called %s: any of them could acknowledge commits", row["sessions"], ApplicationName)
	if disposable {
		why := unmarked(row)
		add(why != "", "fsync is %s, and %s", row["fsync"], why)
	} else {
		add(row["fsync"] != "on", "fsync is %s", row["fsync"])
	}
	add(row["full_page_writes"] != "on", "full_page_writes is %s: torn pages cannot be repaired", row["full_page_writes"])
	level := row["synchronous_commit"]
	add(!syncrep.Waits(level), "synchronous_commit is %s: commits do not wait for the quorum", level)
	add(row["wal_status"] != "reserved" && row["wal_status"] != "extended", "replication slot's wal_status is %q", row["wal_status"])
	return wrong
}
