package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/syncrep"
)

// DetachOptions are the choices of `walhaven detach`.
type DetachOptions struct {
	Dir         string // folder of the cluster file
	Postgres    string // a superuser's connection string; empty: the one of attach
	KeepPushing bool   // commits wait no longer, WAL goes on to the safekeepers
	Out         io.Writer
}

// Bounds of the parts of a detach. Together they stay under 5 s though every
// safekeeper is gone.
const (
	detachReload  = 2 * time.Second         // for the setting to be in force
	detachStop    = 1500 * time.Millisecond // for the walproposer to bring what it has
	detachSlot    = time.Second             // for PostgreSQL to notice that it left
	detachInquiry = time.Second             // for the safekeepers to say what they keep
)

// Detach makes a server work as before it was attached. Commits that wait return
// first. It may be called again after any failure, and needs no safekeeper.
func Detach(ctx context.Context, o DetachOptions) error {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("resolve cluster folder: %w", err)
	}
	c, err := LoadCluster(filepath.Join(dir, ClusterFile))
	if err != nil {
		return err
	}
	a := &attach{local: &local{Cluster: c, out: o.Out}}
	if c.Attached == nil {
		return program.Explain(fmt.Errorf("the cluster file %s says of no server that it is attached", filepath.Join(dir, ClusterFile)), "",
			"A server that walhaven up started is stopped by walhaven down.")
	}
	if o.Postgres == "" {
		o.Postgres = c.Attached.Admin
	}
	if a.pg, err = connectAdmin(ctx, o.Postgres, a.say); err != nil {
		return program.Explain(err, "", "Name a superuser with --postgres; its password may come from PGPASSWORD or a password file.")
	}
	defer a.pg.close()
	if err := a.resetNames(ctx, a.pg); err != nil {
		return err
	}
	if o.KeepPushing {
		a.say("Commits wait no longer. The walproposer goes on, and PostgreSQL keeps WAL for it in slot %s: watch its disk.", c.slot())
		a.say("walhaven attach lets commits wait again, walhaven detach ends it.")
		return nil
	}
	kept := a.inquire(ctx)
	defer kept()
	for _, step := range []func(context.Context) error{a.stopPushing, a.dropSlot, a.dropRole} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	c.Attached, c.Postgres.ConnString = nil, ""
	if err := c.save(); err != nil {
		return err
	}
	a.say("The server is as it was before.")
	a.sayKept(kept())
	return nil
}

// resetNames puts synchronous_standby_names back and waits until that is in
// force and nobody waits any more. A value that is not the one that attach set is
// left alone.
func (a *attach) resetNames(ctx context.Context, pg *pgAdmin) error {
	now, err := pg.autoConf(ctx, namesSetting)
	if err != nil {
		return err
	}
	if a.Attached.Names != "" && now != nil && *now == a.Attached.Names {
		statement := "ALTER SYSTEM RESET " + namesSetting
		if before := a.Attached.NamesBefore; before != nil {
			statement = fmt.Sprintf("ALTER SYSTEM SET %s = %s", namesSetting, literal(*before))
		}
		if err := pg.change(ctx, statement); err != nil {
			return err
		}
	}
	if a.Attached.Names != "" { // also when the statement was run, and then we were interrupted
		if err := pg.reload(ctx); err != nil {
			return err
		}
	}
	if err := a.awaitReset(ctx, pg); err != nil {
		return err
	}
	a.Attached.Names, a.Attached.NamesBefore = "", nil
	return a.record()
}

// awaitReset waits until the setting does without walhaven.
func (a *attach) awaitReset(ctx context.Context, pg *pgAdmin) error {
	ctx, cancel := context.WithTimeout(ctx, detachReload)
	defer cancel()
	var names, source string
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		row, err := pg.one(ctx, "SELECT setting AS names, coalesce(sourcefile || ':' || sourceline, source) AS source, "+
			"(SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep') AS waiting FROM pg_settings WHERE name = '"+namesSetting+"'")
		if err != nil {
			return false, err
		}
		names, source = row["names"], row["source"]
		list, err := syncrep.Parse(names)
		return !list.Has(standbyName) && (len(list.Names) > 0 || row["waiting"] == "0"), err
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return program.Explain(fmt.Errorf("commits still wait: synchronous_standby_names is '%s' (%s), which attach has not set", names, source), "",
		"Take walhaven out of it there and reload, then detach again. Nothing else was changed.")
}

// stopPushing ends the walproposer. One that somebody else runs is kept out: it
// could not be told to stop from here.
func (a *attach) stopPushing(ctx context.Context) error {
	if pid := a.PID("walproposer"); pid != 0 {
		a.say("stopping walproposer")
		stopCtx, cancel := context.WithTimeout(ctx, detachStop)
		defer cancel()
		err := a.stop(stopCtx, "walproposer") // kills what does not end: no commit waits for it any more
		if a.PID("walproposer") != 0 {
			err = errors.Join(err, syscall.Kill(pid, syscall.SIGKILL))
		}
		if err != nil {
			a.say("  it was killed: what the quorum lacks stays in PostgreSQL only")
		}
		return ctx.Err()
	}
	active, err := a.slotActive(ctx)
	if err != nil || active == "" {
		return err
	}
	a.say("A walproposer that this command did not start is connected. Stop its service, else it keeps trying:\n  systemctl disable --now walhaven-walproposer")
	if !a.Attached.RoleMade {
		return nil
	}
	return a.pg.change(ctx, "ALTER ROLE "+ident(a.Attached.Role)+" NOLOGIN")
}

// slotActive returns the process that streams from the slot, "" for none.
func (a *attach) slotActive(ctx context.Context) (string, error) {
	rows, err := a.pg.rows(ctx, "SELECT coalesce(active_pid::text, '') AS pid FROM pg_replication_slots WHERE slot_name = "+literal(a.Attached.Slot))
	if err != nil || len(rows) == 0 {
		return "", err
	}
	return rows[0]["pid"], nil
}

// dropSlot waits until the slot is free, ends the session that holds on to it,
// and drops it.
func (a *attach) dropSlot(ctx context.Context) error {
	rows, err := a.pg.rows(ctx, "SELECT 1 FROM pg_replication_slots WHERE slot_name = "+literal(a.Attached.Slot))
	if err != nil || len(rows) == 0 || !a.Attached.SlotMade {
		return err
	}
	free := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		return poll(ctx, 20*time.Millisecond, func() (bool, error) {
			pid, err := a.slotActive(ctx)
			return pid == "", err
		})
	}
	if free(detachSlot/2) != nil {
		if pid, err := a.slotActive(ctx); err == nil && pid != "" {
			if err := a.pg.change(ctx, "SELECT pg_terminate_backend("+pid+")"); err != nil {
				return err
			}
		}
		if err := free(detachSlot); err != nil {
			return program.Explain(fmt.Errorf("slot %s stays in use: %w", a.Attached.Slot, err), "", "Stop the walproposer and detach again; commits wait no longer.")
		}
	}
	return a.pg.change(ctx, "SELECT pg_drop_replication_slot("+literal(a.Attached.Slot)+")")
}

func (a *attach) dropRole(ctx context.Context) error {
	rows, err := a.pg.rows(ctx, "SELECT 1 FROM pg_roles WHERE rolname = "+literal(a.Attached.Role))
	if err != nil || len(rows) == 0 || !a.Attached.RoleMade {
		return err
	}
	if err := a.revokeLog(ctx); err != nil {
		return err
	}
	if err := a.pg.change(ctx, "DROP ROLE "+ident(a.Attached.Role)); err != nil {
		return program.Explain(err, "", "Something else has been given to the role: DROP OWNED BY "+ident(a.Attached.Role)+", then detach again.")
	}
	return removeIfThere(a.rolePassFile())
}

// keptWAL is what one node still has.
type keptWAL struct {
	what string
	err  error
}

// inquire asks the nodes what they keep, while other things are done; the
// function that it returns waits for the answers.
func (a *attach) inquire(ctx context.Context) func() []keptWAL {
	nodes := append(append([]Node{}, a.Safekeepers...), a.Pageservers...)
	out := make([]keptWAL, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, detachInquiry)
			defer cancel()
			row, err := a.timelineRow(ctx, n.PG)
			out[i] = keptWAL{what: "up to " + row["flush_lsn"], err: err}
			if oldest := row["oldest_lsn"]; oldest != "" {
				out[i].what = "WAL from " + oldest + " to " + row["flush_lsn"]
			}
		})
	}
	return func() []keptWAL { wg.Wait(); return out }
}

// sayKept tells what is still stored where, and how to delete it.
func (a *attach) sayKept(kept []keptWAL) {
	a.say("\nStill stored, of tenant %s, timeline %s (%s):", a.Tenant, a.Timeline, a.Name)
	for i, n := range append(append([]Node{}, a.Safekeepers...), a.Pageservers...) {
		what := kept[i].what
		if kept[i].err != nil {
			what = "does not answer"
		}
		a.say("  %s  %s  %s", n.PG, a.timelineDir(n), what)
	}
	a.say("It brings back the server up to that point, with a base backup (docs/operations.md, Getting data back).")
	a.say("To delete it, on each of those machines: stop the program, rm -r the folder, start the program.")
	a.say("To attach again, a new timeline is founded: walhaven attach --timeline %s-2 ...", a.Name)
}
