package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/syncrep"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// FailoverOptions are the choices of `walhaven failover` and, with Stop or From,
// of `walhaven switchover`.
type FailoverOptions struct {
	Dir         string // folder of the cluster file
	To          string // connection string of a superuser on the standby
	Replication string // the walproposer's connection string to it; empty: To with the role of the cluster file
	HTTP        string // the walproposer's --listen-http; empty: as in the cluster file
	NoStart     bool   // somebody else runs the walproposer
	// Yes goes on though the old primary still answers.
	Yes      bool
	Timeout  time.Duration // for each wait; 0 = for ever
	Programs string        // where walhaven's own programs are; empty: beside this one
	Out      io.Writer

	// Of a switchover: connection string of the old primary (empty: that of the
	// cluster file), and the shell command that stops it (empty: a fast shutdown if
	// it runs on this machine).
	From, Stop string
}

// failover is one that is under way.
type failover struct {
	*local
	o     FailoverOptions
	to    map[string]string // where the standby is
	pg    *pgAdmin          // on it
	facts replication.Row   // of it
	names syncrep.List      // what its synchronous_standby_names is
	// promoted says that it is a primary already, whose commits wait for the quorum.
	promoted bool
	// redirected says that the standby's primary_conninfo was changed, and before
	// what postgresql.auto.conf said of it; nil: nothing.
	redirected bool
	before     *string
	// stopped says that the old primary's walproposer was, promoting that there is no
	// way back.
	stopped, promoting bool

	old     oldPrimary
	held    *headless.Holding
	end     wal.LSN // F: where WAL ends
	decided time.Time
}

// Failover makes a standby that follows the safekeepers the primary, and loses no
// acknowledged commit: it makes committed what may have been acknowledged and
// keeps the old primary's walproposer out, has the standby replay exactly that,
// promotes it, and attaches it. Its commits wait for the quorum from the first
// one on. Whatever it runs or changes it prints first; it may be called again
// after any failure.
func Failover(ctx context.Context, o FailoverOptions) error {
	f, err := openFailover(ctx, o)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.checkStandby(ctx); err != nil || f.promoted {
		return f.goOn(ctx, err)
	}
	return f.leave(f.each(ctx, f.checkOldPrimary, f.prepareStandby, f.stopWalproposer, f.hold, f.replay, f.promote, f.attach, f.finish))
}

// Switchover does the same with a primary that is alive: it is stopped first, with
// its shutdown checkpoint on the quorum, and can come back as a standby.
func Switchover(ctx context.Context, o FailoverOptions) error {
	f, err := openFailover(ctx, o)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.checkStandby(ctx); err != nil || f.promoted {
		return f.goOn(ctx, err)
	}
	return f.leave(f.each(ctx, f.findOldPrimary, f.prepareStandby, f.stopOldPrimary, f.stopWalproposer, f.hold,
		f.checkShutdown, f.replay, f.promote, f.attach, f.rejoin, f.finish))
}

// leave says what an end before the promotion leaves behind: the old primary is the
// primary still, and its commits wait for a walproposer that is not there any more.
func (f *failover) leave(err error) error {
	switch {
	case err == nil || f.promoting:
	case f.stopped && f.Attached == nil:
		f.say("The old primary's walproposer was stopped, and without it no commit returns there. To go on with the old primary after all:\n  %s",
			shellLine([]string{filepath.Join(f.binDir, "walhaven"), "up", "--detach", "--dir", f.dir}))
	case f.stopped:
		f.say("The old primary's walproposer was stopped, and without it no commit returns there. To go on with the old primary after all:\n  %s",
			shellLine(f.walproposer().args))
	case f.held != nil:
		f.say("The old primary's walproposer, if it lives, was kept out and may have ended: start it again if that primary is to go on.")
	}
	return err
}

// goOn ends a failover that was interrupted between the promotion and the first
// commit. Whether the new primary may write is its walproposer's to prove, as
// ever.
func (f *failover) goOn(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	if f.facts["sessions"] != "0" {
		f.say("It is the primary already and has its walproposer: nothing is promoted. What is left is the first commit.")
		// One that was not started here is somebody else's to watch.
		f.o.NoStart = f.o.NoStart || f.PID("walproposer") == 0
		return f.each(ctx, f.record, func(ctx context.Context) error { return f.awaitFirstCommit(ctx, f.walproposer()) }, f.finish)
	}
	f.say("It was promoted already; what is left is its walproposer.")
	return f.each(ctx, f.stopWalproposer, f.attach, f.finish)
}

// each runs the steps up to the first that fails.
func (f *failover) each(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Settle makes committed what may have been acknowledged, and returns where WAL
// ends: the first half of a failover, for those whose tools promote themselves.
func (c *Cluster) Settle(ctx context.Context, progress func(format string, args ...any)) (wal.LSN, error) {
	o, err := c.syncOptions()
	if err != nil {
		return 0, err
	}
	progress("+ walproposer sync --safekeepers %s --tenant-id %s --timeline %s", joined(c.safekeeperAddresses()), c.Tenant, c.Timeline)
	end, err := walproposer.Sync(ctx, o)
	if err != nil {
		return 0, quorumLost(fmt.Errorf("settle the end of WAL: %w", err))
	}
	return end, nil
}

func (c *Cluster) syncOptions() (walproposer.SyncOptions, error) {
	conninfos, err := c.safekeeperConninfos()
	return walproposer.SyncOptions{Safekeepers: conninfos, Tenant: c.Tenant, Timeline: c.Timeline}, err
}

// quorumLost gives the exit code and the way out to an error that says that too
// few safekeepers answered.
func quorumLost(err error) error {
	if !errors.Is(err, headless.ErrNoQuorum) && !errors.Is(err, ErrNoQuorum) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return program.WithExit(program.ExitQuorumLost, program.Explain(err, "", "Nothing was promoted. Where acknowledged WAL ends is known to a majority only: bring safekeepers back and try again."))
}

// openFailover reads the cluster file and connects to the standby.
func openFailover(ctx context.Context, o FailoverOptions) (*failover, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolve cluster folder: %w", err)
	}
	f := &failover{o: o, local: &local{out: o.Out, binDir: o.Programs}, decided: time.Now()}
	if f.binDir == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find walhaven's programs: %w", err)
		}
		f.binDir = filepath.Dir(exe)
	}
	if f.Cluster, err = LoadCluster(filepath.Join(dir, ClusterFile)); err != nil {
		return nil, err
	}
	if f.to, err = resolveServer(o.To); err != nil {
		return nil, program.WithExit(program.ExitUsage, fmt.Errorf("--to: %w", err))
	}
	if f.pg, err = connectAdmin(ctx, o.To, f.say); err != nil {
		return nil, program.Explain(err, "", "Name a superuser on the standby with --to; its password may come from PGPASSWORD or a password file.")
	}
	return f, nil
}

func (f *failover) close() {
	f.held.Close()
	f.pg.close()
}

// within bounds one wait.
func (f *failover) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.o.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, f.o.Timeout)
}

// hold settles the end of WAL and keeps the old primary's walproposer, if it
// lives, from going on behind it.
func (f *failover) hold(ctx context.Context) error {
	o, err := f.syncOptions()
	if err != nil {
		return err
	}
	f.say("+ settle the end of WAL on %s, and hold the term", joined(f.safekeeperAddresses()))
	within, cancel := f.within(ctx)
	defer cancel()
	// The term is held for longer than this step, but not got for longer.
	holding, release := context.WithCancel(ctx)
	stop := context.AfterFunc(within, release)
	f.held, err = walproposer.Hold(holding, o)
	if !stop() && err == nil {
		f.held.Close()
		f.held, err = nil, context.Cause(within)
	}
	if err != nil {
		release()
		return quorumLost(fmt.Errorf("settle the end of WAL: %w", errors.Join(err, context.Cause(within))))
	}
	f.end = f.held.End()
	f.say("  every acknowledged commit lies below %s; term %d is held", f.end, f.held.Term())
	return nil
}

// joined is a list as a flag takes it.
func joined(addresses []string) string { return strings.Join(addresses, ",") }

func (c *Cluster) clusterFile() string { return filepath.Join(c.dir, ClusterFile) }
