package walproposer

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/walhaven/walhaven/internal/disposable"
	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/internal/postmaster"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

const hintDisposable = "Nothing that was acknowledged is lost: the safekeepers have it. Rebuild the server: move this directory away, put a copy of a " +
	"base backup in its place, and check that one (walproposer check --write-standby; walhaven up does it by itself). Started so it " +
	"fetches WAL from the safekeepers, and may be promoted once it has all. Do not repair this directory, and do not start it."

// condemned refuses a directory that a server wrote to without fsync in another
// place, or before the machine crashed.
func condemned(dir string, end wal.LSN, err error) error {
	if !errors.Is(err, disposable.ErrCondemned) {
		return err
	}
	return refuse("%s must not be started: %v", dir, err).
		detail("Any page and any WAL may be missing in it, up to %s where its last whole record ends.", end).hint(hintDisposable)
}

// checkMarker refuses a directory whose marker is of another place.
func (c *check) checkMarker() (err error) {
	c.marked, err = disposable.Check(c.dir.Path)
	return condemned(c.o.DataDir, c.dir.End, err)
}

// checkUnsynced refuses a directory that lost WAL although nothing but its server
// can have ended: what the quorum has came from here, so its pages may be
// incomplete as well. A standby is behind as a matter of course.
func (c *check) checkUnsynced(end wal.LSN) error {
	d := c.dir
	if !c.marked || d.Standby || d.BackupStart != 0 || d.End >= end {
		return nil
	}
	return refuse("a server ran in this directory with fsync = off, and its WAL ends at %s although the quorum has it up to %s", d.End, end).
		detail("What is missing in WAL may be missing in its pages, too.").hint(hintDisposable)
}

// SettleStopped writes what a stopped server without fsync has written to disk,
// and says whether there was anything to do: the directory carries a marker and
// the server ended in order. A *Refusal says that it is too late for that.
func SettleStopped(dataDir string) (bool, error) {
	d, err := pgdata.Open(dataDir, DefaultSlot)
	if err != nil {
		return false, err
	}
	marked, err := disposable.Check(dataDir)
	if err != nil || !marked {
		return false, condemned(dataDir, d.End, err)
	}
	if d.State != pgdata.ShutDown && d.State != pgdata.ShutDownInRecovery {
		return false, nil
	}
	return true, disposable.Clear(dataDir)
}

// whereabouts is one row of where PostgreSQL runs; without the privilege to see
// it, dir is NULL.
const whereabouts = `SELECT current_setting('fsync') AS fsync, (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS dir,
	extract(epoch FROM pg_postmaster_start_time())::bigint AS started`

// mayBeDisposable refuses a server in a directory that must not have been started,
// whatever its settings are now, and one that runs without fsync in a directory
// that nobody could tell from a damaged one after a crash of the machine.
func (s *session) mayBeDisposable(ctx context.Context) error {
	c, err := connectSQL(ctx, s.o.origin())
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // Nothing was left undone on it.
	row, err := one(ctx, c, whereabouts)
	if err != nil {
		return err
	}
	if runsHere(row["dir"], row["started"]) == nil {
		if _, err := disposable.Check(row["dir"]); errors.Is(err, disposable.ErrCondemned) {
			return condemned(row["dir"], s.server.Flush, err)
		}
	}
	if !s.o.DisposableCompute {
		return nil
	}
	if wrong := unmarked(row); wrong != "" {
		return refuse("PostgreSQL runs with fsync = off at %s, and %s", s.server.Flush, wrong).
			detail("After a crash of the machine nothing would tell that its files are not to be trusted.").
			hint("Start PostgreSQL behind `walproposer check --pgdata DIR --disposable-compute`, on the walproposer's machine and readable for it, or set fsync = on.")
	}
	return nil
}

// unmarked says what is wrong with the marker of a server that runs without
// fsync; "" is nothing.
func unmarked(row replication.Row) string {
	if row["fsync"] != "off" {
		return ""
	}
	dir := row["dir"]
	if err := runsHere(dir, row["started"]); err != nil {
		return err.Error()
	}
	marked, err := disposable.Check(dir)
	switch {
	case err != nil:
		return err.Error()
	case !marked:
		return fmt.Sprintf("its directory %s carries no marker", dir)
	}
	return ""
}

// startSlack is how far a postmaster's own notes about its start may be apart, in
// seconds: it writes the one to postmaster.pid as its first step, the other when
// it has recovered shared memory.
const startSlack = 120

// runsHere says whether the server that was started at that time, in seconds since
// 1970, is one of this machine in that directory.
func runsHere(dir, started string) error {
	if dir == "" {
		return errors.New("its data directory is not shown to this user, who is no member of pg_monitor")
	}
	noted, err := postmaster.ReadPIDFile(dir)
	if err != nil {
		return fmt.Errorf("its data directory cannot be read here: %w", err)
	}
	then, err := strconv.ParseInt(started, 10, 64)
	if err != nil || noted.Started == 0 {
		return fmt.Errorf("when it was started is not known (%q)", started)
	}
	if max(noted.Started-then, then-noted.Started) > startSlack {
		return fmt.Errorf("the server in this machine's %s is another one", dir)
	}
	return nil
}
