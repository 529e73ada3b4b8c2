package walproposer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/walhaven/walhaven/internal/durablefile"
	"github.com/walhaven/walhaven/replication"
)

// EarlyPush says when WAL is pushed as soon as it is in pg_wal, if that is at hand.
// After a crash of its machine a server whose WAL was pushed early may lack some that
// the quorum has, and must not be started as it is.
type EarlyPush string

// Values of EarlyPush.
const (
	// EarlyPushChecked: if PostgreSQL was started behind a check, which tells a server
	// that lacks WAL before it writes.
	EarlyPushChecked EarlyPush = ""
	EarlyPushOn      EarlyPush = "on"
	EarlyPushOff     EarlyPush = "off"
)

// earlyPushOf is what a switch says that may be left alone.
func earlyPushOf(on *bool) EarlyPush {
	switch {
	case on == nil:
		return EarlyPushChecked
	case *on:
		return EarlyPushOn
	}
	return EarlyPushOff
}

// checkNote is a file in the data directory that is as old as the last check of it
// behind which PostgreSQL could be started as primary. As its name begins with
// pgsql_tmp, base backups leave it out.
const checkNote = "pgsql_tmp.walhaven-checked"

// checkedFor is how long after its check PostgreSQL is started at the latest.
const checkedFor = 10 * time.Minute

// noteCheck notes that a data directory was checked and may be started as primary. The
// note is for the start that follows: a crash of the machine may well take it.
func noteCheck(dataDir string) error {
	return durablefile.ReplaceForOwner(filepath.Join(dataDir, checkNote), nil)
}

// earlyPush makes the session push early, if it can.
func (s *session) earlyPush(ctx context.Context) {
	if s.o.EarlyPush == EarlyPushOff {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	e, err := newEarly(ctx, s.tap)
	switch {
	case err == nil:
		s.tap.early = e
	case s.o.EarlyPush == EarlyPushOn:
		s.logger.Warn("cannot push early", "err", err)
	default:
		s.logger.Info("WAL is not pushed early", "why", err)
	}
}

// walFolder is the server's pg_wal, if it is one of this machine and, unless somebody
// insists, was started behind a check.
func walFolder(ctx context.Context, pg origin, insist bool) (string, error) {
	c, err := connectSQL(ctx, pg)
	if err != nil {
		return "", err
	}
	defer c.Close() //nolint:errcheck // Nothing was left undone on it.
	row, err := one(ctx, c, whereabouts)
	if err != nil {
		return "", err
	}
	if err := runsHere(row["dir"], row["started"]); err != nil {
		return "", err
	}
	if !insist {
		if err := worthEarlyPush(row); err != nil {
			return "", err
		}
	}
	return filepath.Join(row["dir"], "pg_wal"), nil
}

// worthEarlyPush says whether to push early without being told to, according to a row
// of whereabouts.
func worthEarlyPush(row replication.Row) error {
	if row["fsync"] == "off" {
		return errors.New("PostgreSQL flushes nothing (fsync = off)")
	}
	return startedBehindCheck(row["dir"], row["started"])
}

// startedBehindCheck says whether the server that was started at that time, in
// seconds since 1970, was started behind a check.
func startedBehindCheck(dataDir, started string) error {
	unchecked := errors.New("PostgreSQL was not started behind `walproposer check --allow-early-push`")
	then, err := strconv.ParseInt(started, 10, 64)
	if err != nil {
		return fmt.Errorf("when it was started is not known (%q)", started)
	}
	note, err := os.Stat(filepath.Join(dataDir, checkNote))
	if errors.Is(err, os.ErrNotExist) {
		return unchecked
	}
	if err != nil {
		return fmt.Errorf("look when it was checked: %w", err)
	}
	if after := time.Unix(then, 0).Sub(note.ModTime().Truncate(time.Second)); after < 0 || after > checkedFor {
		return unchecked
	}
	return nil
}
