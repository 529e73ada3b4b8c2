package operator

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/walhaven/walhaven/internal/conninfo"
	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// sayReplayEvery is the pause between lines about how far the standby is.
const sayReplayEvery = 2 * time.Second

// stopWalproposer ends the old primary's walproposer where it is ours to stop.
// Elsewhere the held term keeps it out.
func (f *failover) stopWalproposer(ctx context.Context) error {
	if pid := f.PID("walproposer"); pid != 0 {
		f.say("+ kill %d  # the walproposer of the old primary", pid)
		f.stopped = true
		stopCtx, cancel := context.WithTimeout(ctx, stopTimeout)
		defer cancel()
		return f.stop(stopCtx, "walproposer")
	}
	return nil
}

// replay waits until the standby has replayed up to where WAL ends.
func (f *failover) replay(ctx context.Context) error {
	const at = "SELECT coalesce(pg_last_wal_replay_lsn(), '0/0') AS replayed, coalesce(pg_last_wal_receive_lsn(), '0/0') AS received, " +
		"(SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming') AS streams, " +
		"CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() ELSE 'promoted' END AS paused"
	f.say("+ wait until the standby has replayed up to %s", f.end)
	within, cancel := f.within(ctx)
	defer cancel()
	last := time.Now()
	var row replication.Row
	var way watch
	err := poll(within, 10*time.Millisecond, func() (ok bool, err error) {
		if row, err = f.pg.one(within, at); err != nil {
			return false, err
		}
		if row["paused"] == "promoted" {
			return false, errors.New("somebody else has promoted the standby")
		}
		replayed, err := row.LSN("replayed")
		if err == nil && replayed < f.end && time.Since(last) > sayReplayEvery {
			f.say("  %s of %s: received %s, %s connections to safekeepers, replay %s", replayed, f.end, row["received"], row["streams"], row["paused"])
			last = time.Now()
		}
		if err == nil && replayed < f.end && way.stuck(row["received"]+" "+row["replayed"]) {
			err = f.redirect(within)
		}
		return replayed >= f.end, err
	})
	if err == nil {
		f.say("  replayed up to %s", row["replayed"])
		return nil
	}
	return program.Explain(fmt.Errorf("the standby does not reach %s: %w", f.end, err),
		fmt.Sprintf("It has replayed %s and received %s; replay is %s.", row["replayed"], row["received"], row["paused"]),
		"Nothing was promoted. Its log says why it stays behind; see that it reaches a safekeeper, and try again.")
}

// promote promotes the standby and makes sure that its timeline begins where WAL
// ended.
func (f *failover) promote(ctx context.Context) error {
	select {
	case <-f.held.Done():
		return program.Explain(fmt.Errorf("another walproposer has taken over meanwhile: %w", f.held.Err()), "Nothing was promoted.",
			"Stop it, or leave the primary as it is.")
	default:
	}
	invariant.Point("operator/promote/before")
	f.promoting = true
	f.say("+ SELECT pg_promote()")
	row, err := f.pg.one(ctx, "SELECT pg_promote() AS done")
	if err == nil && row["done"] != "t" {
		err = errors.New("it did not finish within a minute")
	}
	if err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	invariant.Point("operator/promote/after")
	if err := f.undoRedirect(ctx); err != nil {
		return err
	}
	h, err := f.history(ctx)
	if err != nil {
		return fmt.Errorf("read the new primary's timeline history: %w", err)
	}
	begin, _ := h.Begin(h.Last)
	f.say("  timeline %d begins at %s", h.Last, begin)
	if begin < f.end {
		return program.Explain(fmt.Errorf("the new primary's timeline %d begins at %s, below %s: acknowledged commits are missing in it", h.Last, begin, f.end),
			"", "It is not attached, and none of its commits returns. Stop it, and fail over to another standby.")
	}
	return nil
}

// history asks the new primary for its timelines.
func (f *failover) history(ctx context.Context) (h wal.TimelineHistory, err error) {
	login, err := f.walproposerConninfo()
	if err != nil {
		return h, err
	}
	c, err := replication.Connect(ctx, login, replication.DialOptions{Timeout: adminTimeout, Params: physical})
	if err != nil {
		return h, err
	}
	defer c.Close() //nolint:errcheck // Only asked.
	rows, err := c.Query(ctx, "IDENTIFY_SYSTEM")
	if err != nil || len(rows) != 1 {
		return h, errors.Join(fmt.Errorf("IDENTIFY_SYSTEM: %d rows", len(rows)), err)
	}
	tli, err := rows[0].Uint("timeline")
	if err != nil {
		return h, err
	}
	if rows, err = c.Query(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", tli)); err != nil || len(rows) != 1 {
		return h, errors.Join(fmt.Errorf("TIMELINE_HISTORY: %d rows", len(rows)), err)
	}
	return wal.ParseTimelineHistory(wal.TLI(tli), []byte(rows[0]["content"]))
}

// record makes the cluster file name the new primary.
func (f *failover) record(context.Context) (err error) {
	f.Postgres.DataDir, f.Postgres.SocketDir = f.facts["data_directory"], f.facts["socket_dir"]
	if f.Postgres.Port, err = strconv.Atoi(f.facts["port"]); err != nil {
		return fmt.Errorf("port of the server: %w", err)
	}
	if f.Postgres.ConnString, err = f.walproposerConninfo(); err != nil {
		return err
	}
	if f.Attached != nil {
		f.Attached.Admin, f.Attached.SlotMade = conninfo.Format(f.to), true
	}
	if f.o.HTTP != "" {
		f.Walproposer.HTTP = f.o.HTTP
	}
	f.say("+ %s  # names the new primary", f.clusterFile())
	return f.save()
}

// attach has the new primary's walproposer take over the term.
func (f *failover) attach(ctx context.Context) error {
	if err := f.record(ctx); err != nil {
		return err
	}
	d := f.walproposer()
	d.args = append(d.args, "--takeover")
	if f.o.NoStart {
		f.say("Start the walproposer now, beside the new primary; without --takeover it waits for 5 s first:")
		f.say("  %s", shellLine(d.args))
		f.say("Waiting for it ...")
	} else if err := f.start(d); err != nil {
		return err
	}
	return f.awaitFirstCommit(ctx, d)
}

// awaitFirstCommit commits something, which returns when the quorum has it.
func (f *failover) awaitFirstCommit(ctx context.Context, d daemon) error {
	invariant.Point("operator/commit/before")
	within, cancel := f.within(ctx)
	defer cancel()
	committed := make(chan error, 1)
	go func() {
		_, err := replication.Query(within, f.o.To, "SELECT pg_logical_emit_message(true, 'walhaven', 'failover')",
			replication.DialOptions{Params: map[string]string{"application_name": "walhaven-admin", "synchronous_commit": "on", "statement_timeout": "0"}})
		committed <- err
	}()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-committed:
			if err != nil {
				return fmt.Errorf("first commit on the new primary: %w", err)
			}
			f.say("  the first commit of the new primary is on the quorum, %s after the command was given", time.Since(f.decided).Round(time.Millisecond))
			return nil
		case <-look.C:
			if !f.o.NoStart && f.PID(d.name) == 0 {
				cancel()
				<-committed
				return fmt.Errorf("the new primary's walproposer ended; its log %s ends with:\n%s", f.LogFile(d.name), tail(f.LogFile(d.name)))
			}
		}
	}
}

// finish says how things are.
func (f *failover) finish(context.Context) error {
	f.say("\nThe new primary is at %s:%s. Every commit on it waits for a majority of the %d safekeepers.", f.to["host"], f.to["port"], len(f.Safekeepers))
	f.say("Other standbys of the safekeepers follow by themselves. The old primary must not be started as one again; it can follow:\n"+
		"  walproposer check --pgdata <its data directory> --write-standby --safekeepers %s --tenant-id %s --timeline %s",
		joined(f.safekeeperAddresses()), f.Tenant, f.Timeline)
	f.say("What it wrote that no quorum has, if anything:  walhaven orphans --pgdata <its data directory> --cluster %s", f.dir)
	if !f.o.NoStart {
		f.say("The walproposer runs until this machine stops. For it to come back by itself make a service of this line (docs/operations.md has a unit):\n  %s", shellLine(f.walproposer().args))
	}
	return nil
}
