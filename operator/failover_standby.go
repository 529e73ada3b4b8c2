package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/walhaven/walhaven/internal/conninfo"
	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/syncrep"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// standbyFacts is one row of all that decides whether a standby can be promoted.
const standbyFacts = `SELECT pg_is_in_recovery() AS standby,
	current_setting('is_superuser') AS superuser,
	(SELECT system_identifier FROM pg_control_system()) AS system_identifier,
	current_setting('data_directory') AS data_directory,
	extract(epoch FROM pg_postmaster_start_time()) AS started,
	current_setting('port') AS port,
	split_part(current_setting('unix_socket_directories'), ',', 1) AS socket_dir,
	current_setting('primary_conninfo') AS primary_conninfo,
	current_setting('recovery_min_apply_delay') AS delay,
	CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() ELSE '' END AS paused,
	current_setting('fsync') AS fsync,
	current_setting('full_page_writes') AS full_page_writes,
	current_setting('synchronous_standby_names') AS names,
	(SELECT coalesce(sourcefile || ':' || sourceline, source) FROM pg_settings WHERE name = 'synchronous_standby_names') AS names_source,
	current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots) AS free_slots,
	(SELECT count(*) FROM pg_stat_replication WHERE application_name = 'walhaven') AS sessions,
	(SELECT slot_type || ' ' || coalesce(wal_status, '') FROM pg_replication_slots WHERE slot_name = %s) AS slot`

// checkStandby says whether the standby can become the primary. It changes
// nothing.
func (f *failover) checkStandby(ctx context.Context) (err error) {
	if f.facts, err = f.pg.one(ctx, fmt.Sprintf(standbyFacts, literal(f.slot()))); err != nil {
		return err
	}
	c := &checklist{say: f.say}
	v := f.facts
	where := f.to["host"] + ":" + f.to["port"]
	c.must(v["superuser"] == "on", "user "+f.to["user"]+" is a superuser", "Give --to with a superuser.")
	tenant, err := tenantOf(v["system_identifier"])
	c.must(err == nil && tenant == f.Tenant, "its system identifier is the cluster's", "It is "+v["system_identifier"]+": another cluster's server.")
	f.checkStandbyNames(c)
	f.promoted = v["standby"] != "t" && f.names.Needs(standbyName) && v["slot"] != ""
	c.must(v["standby"] == "t" || f.promoted, where+" is a standby, or was promoted already", "Name a standby that follows the safekeepers with --to.")
	if !f.promoted {
		f.checkReplay(ctx, c)
	}
	c.must(v["fsync"] == "on", "fsync = "+v["fsync"], "Set fsync = on and reload.")
	c.must(v["full_page_writes"] == "on", "full_page_writes = "+v["full_page_writes"], "Set full_page_writes = on and reload: torn pages cannot be repaired without.")
	level := f.pg.level
	c.must(syncrep.Waits(level), "synchronous_commit = "+level,
		"Set synchronous_commit = on and reload: with "+level+" no commit waits for the quorum.")
	c.must(v["slot"] != "" || v["free_slots"] != "0", "there is a replication slot for the walproposer",
		"Raise max_replication_slots and restart the standby, or drop a slot that nobody needs.")
	c.must(v["slot"] == "" || strings.HasPrefix(v["slot"], "physical "), "slot "+f.slot()+" is physical or is to be made", "Another slot has this name; drop it.")
	if err := f.checkWalproposerLogin(ctx, c); err != nil {
		return err
	}
	if len(c.failed) > 0 {
		return program.Explain(errors.New("nothing was changed: "+strings.Join(c.failed, "; ")), "", "The lines marked FAILED say what to do.")
	}
	return nil
}

// checkReplay asks whether WAL reaches the standby and is replayed.
func (f *failover) checkReplay(ctx context.Context, c *checklist) {
	v := f.facts
	follows, hint := f.followsSafekeepers(ctx)
	c.must(follows, "it follows the safekeepers", hint)
	c.must(v["paused"] != "paused" && v["paused"] != "pause requested", "it replays", "Replay is "+v["paused"]+". SELECT pg_wal_replay_resume() on it.")
	c.must(v["delay"] == "0", "it replays without delay", "recovery_min_apply_delay is "+v["delay"]+": set it to 0 and reload.")
}

// checkStandbyNames finds out whether the first commit after the promotion will
// wait for the quorum.
func (f *failover) checkStandbyNames(c *checklist) {
	var err error
	names := f.facts["names"]
	f.names, err = syncrep.Parse(names)
	settable := err == nil && len(f.names.Names) == 0
	c.must(settable || err == nil && f.names.Needs(standbyName), "synchronous_standby_names = '"+names+"' needs walhaven, or is to be set",
		fmt.Sprintf("It is set in %s so that commits would return without the quorum. Set it to '%s' or '%s' there and reload.",
			f.facts["names_source"], standbyName, f.names.WithAll(standbyName)))
}

// followsSafekeepers says whether WAL comes to the standby from this cluster's
// safekeepers, and what to do if it does not.
func (f *failover) followsSafekeepers(ctx context.Context) (ok bool, hint string) {
	follow := "primary_conninfo = '<safekeepers>'"
	if text, err := walproposer.StandbyConninfo(f.safekeeperAddresses(), f.User, "", wal.TTID{Tenant: f.Tenant, Timeline: f.Timeline}); err == nil {
		follow = "primary_conninfo = '" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	hint = "Set " + follow + " (with a password or passfile) in it and reload."
	settings, err := conninfo.Parse(f.facts["primary_conninfo"])
	if err != nil {
		return false, "primary_conninfo: " + err.Error() + ". " + hint
	}
	known, silent := 0, ""
	for _, address := range addressesOf(settings) {
		switch is, err := f.isSafekeeper(ctx, address); {
		case is:
			known++
		case nobodyAnswers(err):
			silent = address
		default:
			return false, address + ", of its primary_conninfo, is no safekeeper of this timeline. " + hint
		}
	}
	if known == 0 {
		return false, silent + ", of its primary_conninfo, does not answer, and no other is a safekeeper of this timeline. " + hint
	}
	return true, ""
}

// isSafekeeper says whether an address is that of a safekeeper of the timeline. One
// that the cluster file calls otherwise is asked; the error says why it did not say
// yes.
func (f *failover) isSafekeeper(ctx context.Context, address string) (bool, error) {
	for _, n := range f.Safekeepers {
		if n.PG == address {
			return true, nil
		}
	}
	_, err := f.timelineRow(ctx, address)
	return err == nil, err
}

// checkWalproposerLogin logs in as the walproposer will.
func (f *failover) checkWalproposerLogin(ctx context.Context, c *checklist) error {
	login, err := f.walproposerConninfo()
	if err != nil {
		return err
	}
	for _, mode := range []string{"true", "false"} {
		_, err := connectAs(ctx, login, mode)
		what := "the walproposer can log in (replication=" + mode + ")"
		hint := ""
		if err != nil {
			hint = err.Error() + ". It uses: " + login + ". Bring its password file here from the old primary's machine, or give --replication CONNINFO."
		}
		c.must(err == nil, what, hint)
	}
	return nil
}

// walproposerConninfo is how the walproposer reaches the new primary.
func (f *failover) walproposerConninfo() (string, error) {
	switch {
	case f.o.Replication != "":
		server, err := resolveServer(f.o.Replication)
		if err != nil {
			return "", program.WithExit(program.ExitUsage, fmt.Errorf("--replication: %w", err))
		}
		return conninfo.Format(server), nil
	case f.Attached != nil:
		return conninfo.Format(asRole(f.to, f.Attached.Role, f.rolePassFile())), nil
	}
	return conninfo.Format(f.to), nil
}

// prepareStandby sets what has to be in force before the first commit of the new
// primary: a standby takes ALTER SYSTEM and makes slots.
func (f *failover) prepareStandby(ctx context.Context) error {
	ensure := f.ensureNames
	if len(f.names.Names) == 0 {
		ensure = f.setNames
	}
	if err := ensure(ctx); err != nil {
		return err
	}
	if strings.HasSuffix(f.facts["slot"], " lost") {
		if err := f.pg.change(ctx, "SELECT pg_drop_replication_slot("+literal(f.slot())+")"); err != nil {
			return err
		}
		f.facts["slot"] = ""
	}
	if f.facts["slot"] == "" {
		return f.pg.change(ctx, "SELECT pg_create_physical_replication_slot("+literal(f.slot())+", true)")
	}
	return nil
}

// setNames sets synchronous_standby_names and makes sure that it is in force
// everywhere in the server. It is the checkpointer that tells committing sessions
// that there is somebody to wait for; when a CHECKPOINT that was asked for after
// the reload has ended, it has read the setting.
func (f *failover) setNames(ctx context.Context) error {
	before, err := f.pg.autoConf(ctx, namesSetting)
	if err != nil {
		return err
	}
	if f.Attached != nil && f.Attached.Names == "" {
		f.Attached.Names, f.Attached.NamesBefore = standbyName, before
	}
	if err := f.pg.change(ctx, fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", namesSetting, standbyName)); err != nil {
		return err
	}
	if err := f.pg.reload(ctx); err != nil {
		return err
	}
	if err := f.awaitNames(ctx); err != nil {
		return err
	}
	return f.haveNamesRead(ctx)
}

func (f *failover) haveNamesRead(ctx context.Context) error {
	return f.pg.changeSecret(ctx, "CHECKPOINT", "CHECKPOINT  -- so that the checkpointer has read it, too; set on a standby beforehand this is saved")
}

// namesRead is whether the checkpointer is certain to have read the settings that
// sessions have: they are those that the server was started with, or it has
// become idle since the last reload. In the middle of a restartpoint it may not
// look at them for as long as that takes.
const namesRead = `SELECT pg_conf_load_time() <= pg_postmaster_start_time() OR clock_timestamp() > pg_conf_load_time() + CASE
	WHEN (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'checkpointer') = 'CheckpointerMain' THEN interval '1 minute'
	ELSE interval '1 hour' END AS sure`

// ensureNames makes sure that synchronous_standby_names, which was set before, is
// in force everywhere: somebody may have done so just now, or a failover that was
// interrupted before the checkpointer had read it.
func (f *failover) ensureNames(ctx context.Context) error {
	row, err := f.pg.one(ctx, namesRead)
	if err != nil || row["sure"] == "t" {
		return err
	}
	return f.haveNamesRead(ctx)
}

// awaitNames waits until new sessions, and so the postmaster, have the setting.
func (f *failover) awaitNames(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, verifyFor)
	defer cancel()
	var now replication.Row
	err := poll(within, 10*time.Millisecond, func() (bool, error) {
		pg, err := connectAdmin(within, f.o.To, f.say)
		if err != nil {
			return false, err
		}
		defer pg.close()
		now, err = pg.one(within, "SELECT setting AS names, coalesce(sourcefile || ':' || sourceline, source) AS source FROM pg_settings WHERE name = '"+namesSetting+"'")
		return err == nil && now["names"] == standbyName, err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return program.Explain(fmt.Errorf("synchronous_standby_names stays '%s' (%s) on the standby", now["names"], now["source"]), "",
			"Something overrides postgresql.auto.conf, such as the server's command line: set it to '"+standbyName+"' there. Nothing was promoted.")
	}
	return err
}
