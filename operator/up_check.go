package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// checkServer asks, before PostgreSQL is started again, whether its directory may
// be the primary's. One that is behind is started as a standby of the safekeepers
// first, and promoted when it has everything.
func (l *local) checkServer(ctx context.Context) error {
	if l.Tenant.IsZero() || l.server.PID() != 0 || !l.isFounded(ctx) {
		return nil
	}
	conninfos, err := l.safekeeperConninfos()
	if err != nil {
		return err
	}
	l.say("+ walproposer check --pgdata %s", l.Postgres.DataDir)
	v, err := walproposer.Check(ctx, walproposer.CheckOptions{
		DataDir: l.Postgres.DataDir, Slot: l.slot(), Safekeepers: conninfos, Tenant: l.Tenant, Timeline: l.Timeline.String(),
	})
	if err != nil {
		return fmt.Errorf("check the data directory before it is started: %w", err)
	}
	l.say("  %s: %s", v.Action, v.Reason)
	if v.Action != walproposer.StartStandby {
		return nil
	}
	return l.followAndPromote(ctx, v)
}

// isFounded says whether any safekeeper has the timeline.
func (l *local) isFounded(ctx context.Context) bool {
	for _, n := range l.Safekeepers {
		if _, err := l.timelineRow(ctx, n.PG); err == nil {
			return true
		}
	}
	return false
}

// followAndPromote has the server fetch what it lacks and go on from there.
func (l *local) followAndPromote(ctx context.Context, v *walproposer.Verdict) error {
	if !v.Prepared {
		password, err := l.password()
		if err != nil {
			return err
		}
		conninfo, err := walproposer.StandbyConninfo(l.safekeeperAddresses(), l.User, password, v.Timeline)
		if err != nil {
			return err
		}
		l.say("+ standby.signal; primary_conninfo = 'host=... options=...' in postgresql.auto.conf")
		if err := walproposer.WriteStandby(l.Postgres.DataDir, conninfo); err != nil {
			return err
		}
	}
	if err := l.markServer(ctx); err != nil {
		return err
	}
	l.say("+ postgres -D %s  # as a standby of the safekeepers", l.Postgres.DataDir)
	if err := l.server.Start(ctx, compute.StartOptions{Detach: true}); err != nil {
		return err
	}
	view, err := l.awaitQuorum(ctx)
	if err == nil {
		view, err = l.latest(ctx, view)
	}
	if err != nil {
		return fmt.Errorf("ask where WAL ends: %w", err)
	}
	if err := l.awaitReplay(ctx, view.commit); err != nil {
		return err
	}
	if err := l.awaitSilence(ctx); err != nil {
		return err
	}
	if err := l.reserveSlot(ctx); err != nil {
		return err
	}
	l.say("+ SELECT pg_promote()  -- at %s", view.commit)
	promoted, err := l.server.QueryValue(ctx, "SELECT pg_promote()")
	if err == nil && promoted != "t" {
		err = errors.New("it did not finish within a minute")
	}
	if err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	return nil
}

// reserveSlot gives a standby that came from a base backup the slot that backups
// lack: what it replays is the quorum's, so once promoted it has to prove only
// what comes behind.
func (l *local) reserveSlot(ctx context.Context) error {
	known, err := l.server.QueryValue(ctx, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = "+literal(l.slot()))
	if err == nil && known == "0" {
		statement := "SELECT pg_create_physical_replication_slot(" + literal(l.slot()) + ", true)"
		l.say("+ %s", statement)
		err = l.server.Exec(ctx, statement)
	}
	if err != nil {
		return fmt.Errorf("make replication slot: %w", err)
	}
	return nil
}

// awaitSilence waits until no walproposer was heard for the takeover time.
func (l *local) awaitSilence(ctx context.Context) error {
	deadline := time.Now().Add(2*takeoverAfter + time.Second)
	return poll(ctx, time.Second/2, func() (bool, error) {
		view, err := l.awaitQuorum(ctx)
		switch {
		case err != nil:
			return false, err
		case view.silence < 0 || view.silence >= takeoverAfter:
			return true, nil
		case time.Now().After(deadline):
			return false, fmt.Errorf("another primary writes: a safekeeper heard its walproposer %s ago; this server stays a standby",
				view.silence.Round(time.Millisecond))
		}
		return false, nil
	})
}

// awaitReplay waits until the standby has replayed WAL up to end. While it brings
// something it is waited for.
func (l *local) awaitReplay(ctx context.Context, end wal.LSN) error {
	const stall = 2 * time.Minute
	var reached wal.LSN
	moved := time.Now()
	return poll(ctx, time.Second/10, func() (bool, error) {
		text, err := l.server.QueryValue(ctx, "SELECT pg_last_wal_replay_lsn()")
		if err == nil {
			var at wal.LSN
			if at, err = wal.ParseLSN(text); err == nil && at > reached {
				reached, moved = at, time.Now()
			}
		}
		if reached < end && time.Since(moved) > stall {
			return false, fmt.Errorf("the standby stays at %s, WAL ends at %s; its log is %s: %w", reached, end, l.server.LogFile(), err)
		}
		return reached >= end, nil
	})
}
