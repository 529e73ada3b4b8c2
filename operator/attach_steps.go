package operator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/internal/conninfo"
	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/durablefile"
	"github.com/walhaven/walhaven/wal"
)

// makeRole makes the role that the walproposer logs in as. Its password is made
// here and leaves this machine only as a SCRAM verifier.
func (a *attach) makeRole(ctx context.Context) error {
	if !a.Attached.RoleMade {
		return nil
	}
	role, err := a.pg.rows(ctx, "SELECT rolreplication FROM pg_roles WHERE rolname = "+literal(a.Attached.Role))
	if err != nil {
		return err
	}
	word := "CREATE"
	if len(role) > 0 {
		word = "ALTER" // an earlier attempt ended between the role and its password
		if _, err := os.Stat(a.rolePassFile()); err == nil {
			if _, err := connectAs(ctx, a.Postgres.ConnString, "false"); err == nil {
				return a.grant(ctx)
			}
		}
	}
	password := rand.Text()
	verifier, err := auth.MakeVerifier(password)
	if err != nil {
		return fmt.Errorf("make password: %w", err)
	}
	a.say("+ password of role %s to %s", a.Attached.Role, a.rolePassFile())
	if !a.o.DryRun {
		if err := durablefile.Replace(a.rolePassFile(), []byte("*:*:*:"+a.Attached.Role+":"+password+"\n"), 0o600); err != nil {
			return err
		}
	}
	statement := word + " ROLE " + ident(a.Attached.Role) + " LOGIN REPLICATION PASSWORD "
	if err := a.pg.changeSecret(ctx, statement+literal(verifier.String()), statement+"'<its SCRAM-SHA-256 verifier>'"); err != nil {
		return err
	}
	return a.grant(ctx)
}

func (a *attach) grant(ctx context.Context) error {
	return a.pg.change(ctx, "GRANT pg_monitor TO "+ident(a.Attached.Role))
}

// probeRole logs in as the walproposer will, before anything depends on it.
func (a *attach) probeRole(ctx context.Context) error {
	if a.o.DryRun {
		return nil
	}
	server, err := conninfo.Parse(a.Postgres.ConnString)
	if err != nil {
		return err
	}
	for _, mode := range []string{"true", "false"} {
		command, err := connectAs(ctx, a.Postgres.ConnString, mode)
		if err == nil {
			continue
		}
		hint := "Try it with psql; nothing depends on this role yet."
		var refused *pgconn.PgError
		if errors.As(err, &refused) && strings.HasPrefix(refused.Code, "28") {
			hint = hbaHint(server, mode == "true")
		}
		return program.Explain(fmt.Errorf("the walproposer cannot log in (%s with replication=%s): %w", command, mode, err), a.Postgres.ConnString, hint)
	}
	return nil
}

// foundTimeline makes the slot and the timeline.
func (a *attach) foundTimeline(ctx context.Context) error {
	if a.o.DryRun {
		a.say("+ SELECT pg_create_physical_replication_slot('%s', true);", a.Attached.Slot)
		for _, n := range a.Safekeepers {
			a.say("+ %s: CREATE TIMELINE %s %s (name '%s', ...)", n.PG, a.Tenant, "<random>", a.Name)
		}
		return nil
	}
	return a.found(ctx)
}

// runWalproposer starts it beside the server, unless somebody else does, and
// waits until the quorum takes its WAL.
func (a *attach) runWalproposer(ctx context.Context) error {
	if a.o.DryRun {
		a.say("+ %s", shellLine(a.walproposer().args))
		return nil
	}
	if !a.o.NoStart {
		return errors.Join(a.adoptWalproposer(ctx), a.startWalproposer(ctx))
	}
	if status := a.walproposerStatus(ctx); status.State == walproposerStreaming {
		return nil
	}
	a.say("Start the walproposer now, as the service that it is to be (docs/operations.md has a unit):")
	a.say("  %s", shellLine(a.walproposer().args))
	a.say("Waiting for it at http://%s ...", a.Walproposer.HTTP)
	return poll(ctx, 200*time.Millisecond, func() (bool, error) {
		return a.walproposerStatus(ctx).State == walproposerStreaming, nil
	})
}

// adoptWalproposer takes over one that an attach has started which ended before
// it could write the PID file.
func (a *attach) adoptWalproposer(ctx context.Context) error {
	if a.PID("walproposer") != 0 {
		return nil
	}
	pid := a.walproposerStatus(ctx).PID
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if pid == 0 || err != nil || !strings.Contains(string(line), a.Timeline.String()) {
		return nil // nobody, or another machine's, or another cluster's: starting says what is wrong
	}
	return a.notePID("walproposer", pid)
}

// shellLine quotes a command line for a shell.
func shellLine(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		if quoted[i] = arg; strings.Trim(arg, conninfo.Plain+"=,@+%") != "" || arg == "" {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

const (
	// caughtUpWithin is how soon the quorum has to have what PostgreSQL has just
	// flushed, caughtUpTimes in a row, before commits may wait for it.
	caughtUpWithin = 250 * time.Millisecond
	caughtUpTimes  = 5
	// sayLagEvery is the pause between lines about the lag.
	sayLagEvery = 5 * time.Second
)

// catchUp waits until a commit that would wait for the quorum would wait for no
// time worth speaking of.
func (a *attach) catchUp(ctx context.Context) error {
	if a.o.DryRun {
		a.say("  wait until the quorum has, %d times in a row within %s, what PostgreSQL has just flushed", caughtUpTimes, caughtUpWithin)
		return nil
	}
	last := time.Now()
	for streak := 0; streak < caughtUpTimes; {
		d, err := a.roundTrip(ctx, func(behind string) {
			if time.Since(last) > sayLagEvery {
				a.say("  the quorum is %s bytes behind", behind)
				last = time.Now()
			}
		})
		if err != nil {
			return err
		}
		if streak++; d > caughtUpWithin {
			streak = 0
		}
	}
	a.say("  the quorum has what PostgreSQL flushes within %s", caughtUpWithin)
	return nil
}

// roundTrip measures how long the quorum takes to have what PostgreSQL has
// flushed now.
func (a *attach) roundTrip(ctx context.Context, progress func(behind string)) (time.Duration, error) {
	// A transaction of our own moves an idle server, too.
	row, err := a.pg.one(ctx, "SELECT pg_current_xact_id(), pg_current_wal_flush_lsn() AS flushed")
	if err != nil {
		return 0, err
	}
	flushed, err := row.LSN("flushed")
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = poll(ctx, 10*time.Millisecond, func() (bool, error) {
		reported, err := a.reported(ctx)
		if err == nil && reported < flushed {
			progress(fmt.Sprint(uint64(flushed - reported)))
		}
		if err == nil && !a.o.NoStart && a.PID(a.walproposer().name) == 0 {
			err = fmt.Errorf("the walproposer ended; its log %s ends with:\n%s", a.LogFile("walproposer"), tail(a.LogFile("walproposer")))
		}
		return reported >= flushed, err
	})
	return time.Since(began), err
}

// reported is what the walproposer has reported to PostgreSQL, 0 while it is not
// connected.
func (a *attach) reported(ctx context.Context) (wal.LSN, error) {
	rows, err := a.pg.rows(ctx, "SELECT coalesce(flush_lsn, '0/0') AS flush_lsn FROM pg_stat_replication r "+
		"JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE s.slot_name = "+literal(a.Attached.Slot))
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	return rows[0].LSN("flush_lsn")
}
