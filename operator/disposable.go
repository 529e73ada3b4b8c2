package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/walhaven/walhaven/internal/disposable"
	"github.com/walhaven/walhaven/internal/postmaster"
	"github.com/walhaven/walhaven/walproposer"
)

// mayBecomeDisposable takes the option for a cluster that does not run: the
// walproposer has to be told, too.
func (l *local) mayBecomeDisposable(o UpOptions, fresh bool) error {
	if !o.Disposable || l.Postgres.Disposable {
		return nil
	}
	if !fresh && (postmaster.PID(l.Postgres.DataDir) != 0 || l.PID("walproposer") != 0) {
		return errors.New("--disposable-compute is for a new cluster or one that is stopped: walhaven down first")
	}
	l.Postgres.Disposable = true
	if fresh {
		return nil // saved with the rest
	}
	return l.save()
}

// markServer marks the directory of a server that is about to be started without
// fsync, or, where that is no longer wanted, makes it one with fsync again.
func (l *local) markServer(ctx context.Context) error {
	dir := l.Postgres.DataDir
	switch {
	case l.server.Setting("fsync") != "off":
		return nil
	case l.Postgres.Disposable:
		l.say("+ %s  # fsync = off: of no more use once this machine has crashed", filepath.Join(dir, disposable.MarkerName))
		return disposable.Set(dir)
	}
	l.say("+ syncfs %s; fsync = 'on'", dir)
	if err := disposable.Clear(dir); err != nil {
		return err
	}
	return l.server.Set(ctx, map[string]string{"fsync": "on"})
}

// giveUpFsync takes fsync from a server of which there is a base elsewhere, to
// rebuild it from. The marker is on disk before.
func (l *local) giveUpFsync(ctx context.Context) error {
	if !l.Postgres.Disposable || l.server.Setting("fsync") == "off" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(l.backupDir(), "backup_manifest")); err != nil {
		return fmt.Errorf("--disposable-compute needs a base backup: %w", err)
	}
	l.say("+ %s", filepath.Join(l.Postgres.DataDir, disposable.MarkerName))
	if err := disposable.Set(l.Postgres.DataDir); err != nil {
		return err
	}
	l.say("+ fsync = 'off'; reload  # after a crash of this machine the server has to be rebuilt")
	return l.server.Set(ctx, map[string]string{"fsync": "off"})
}

// settleServer makes durable what a stopped server without fsync wrote.
func (l *local) settleServer() error {
	cleared, err := walproposer.SettleStopped(l.Postgres.DataDir)
	if cleared {
		l.say("+ syncfs %s  # whole again, fsync or not", l.Postgres.DataDir)
	}
	return err
}
