package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/syncrep"
)

// namesSetting is what makes commits wait.
const namesSetting = "synchronous_standby_names"

// autoConf reads what postgresql.auto.conf says of a setting; nil: nothing.
// The view shows the file, not what is in force.
func (p *pgAdmin) autoConf(ctx context.Context, name string) (*string, error) {
	rows, err := p.rows(ctx, "SELECT setting FROM pg_file_settings WHERE name = '"+name+
		"' AND sourcefile = current_setting('data_directory') || '/postgresql.auto.conf' ORDER BY seqno DESC LIMIT 1")
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	value := rows[0]["setting"]
	return &value, nil
}

// setNames lets commits wait from here on, unless the setting is somebody
// else's.
func (a *attach) setNames(ctx context.Context) error {
	row, err := a.pg.one(ctx, "SELECT current_setting('"+namesSetting+"') AS names")
	if err != nil {
		return err
	}
	list, err := syncrep.Parse(row["names"])
	if err != nil || list.Has(standbyName) {
		return err
	}
	if a.hands || len(list.Names) > 0 {
		a.hands = true
		return nil
	}
	if a.Attached.Names == "" { // else an earlier attempt noted what was there before
		if a.Attached.NamesBefore, err = a.pg.autoConf(ctx, namesSetting); err != nil {
			return err
		}
		a.Attached.Names = standbyName
		if err := a.record(); err != nil {
			return err
		}
	}
	if err := a.pg.change(ctx, fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", namesSetting, standbyName)); err != nil {
		return err
	}
	return a.pg.reload(ctx)
}

// verifyFor bounds the time that commits may wait for a walproposer that turns
// out not to be the synchronous standby.
const verifyFor = 10 * time.Second

// verify waits until PostgreSQL counts the walproposer as its synchronous
// standby. If it does not, the setting is taken back: an attach that fails leaves
// no commit waiting.
func (a *attach) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, verifyFor)
	defer cancel()
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		// The transaction makes WAL: its report releases commits that began to wait
		// before PostgreSQL counted the walproposer.
		row, err := a.pg.one(ctx, "SELECT pg_current_xact_id(), EXISTS (SELECT FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid "+
			"WHERE s.slot_name = "+literal(a.Attached.Slot)+" AND r.sync_state IN ('sync', 'quorum')) AS sync")
		return err == nil && row["sync"] == "t", err
	})
	if err == nil || a.Attached.Names == "" {
		return err
	}
	a.say("The walproposer is not PostgreSQL's synchronous standby: taking the setting back.")
	// The session may be in the middle of the statement that was cut short.
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), verifyFor)
	defer cancel()
	pg, again := connectAdmin(undo, a.o.Postgres, a.say)
	if again == nil {
		defer pg.close()
		again = a.resetNames(undo, pg)
	}
	return program.Explain(errors.Join(fmt.Errorf("wait for PostgreSQL to count the walproposer: %w", err), again), "",
		"Its log "+a.LogFile("walproposer")+" and http://"+a.Walproposer.HTTP+"/readyz say more. Then run attach again, or detach.")
}

// finish says how things are.
func (a *attach) finish(ctx context.Context) error {
	if a.o.DryRun {
		if a.hands {
			a.say("%s", lineToChoose(a.o.Manager, a.facts["names"], a.facts["names_source"]))
		}
		a.sayLog(ctx)
		a.say("Nothing was changed.")
		return nil
	}
	if a.hands {
		a.say("\nThe quorum has PostgreSQL's WAL and follows it.\n%s", lineToChoose(a.o.Manager, a.facts["names"], a.facts["names_source"]))
	} else {
		if err := a.verify(ctx); err != nil {
			return err
		}
		a.say("\nEvery commit now waits for a majority of the %d safekeepers.", len(a.Safekeepers))
		a.warnIfDispensable(ctx)
	}
	if !a.o.NoStart {
		a.say("The walproposer runs until this machine stops. For it to come back by itself make a service of this line (docs/operations.md has a unit):\n  %s", shellLine(a.walproposer().args))
	}
	a.sayLog(ctx)
	a.say("How it is:  walhaven status --cluster %s\nTo leave:   walhaven detach --cluster %s", a.dir, a.dir)
	a.say("Restoring needs a base backup that is newer than this: pg_basebackup -X none is enough.")
	return nil
}

// warnIfDispensable says so if commits can return without the quorum.
func (a *attach) warnIfDispensable(ctx context.Context) {
	row, err := a.pg.one(ctx, "SELECT current_setting('"+namesSetting+"') AS names")
	if err != nil {
		return // it was in force a moment ago
	}
	if list, err := syncrep.Parse(row["names"]); err == nil && !list.Needs(standbyName) {
		a.say("warning  with synchronous_standby_names = '%s' commits can return that the quorum lacks; '%s' or '%s' would prevent it", row["names"], standbyName, list.WithAll(standbyName))
	}
}
