package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/internal/postmaster"
)

// stopTimeout bounds the end of each part.
const stopTimeout = 30 * time.Second

// Down stops the local cluster in dir. The order matters: PostgreSQL first,
// whose shutdown checkpoint the walproposer still brings to the quorum, then
// the walproposer, and those who receive from the safekeepers before them.
// With purge everything in dir is deleted afterwards.
func Down(ctx context.Context, dir string, purge bool, out io.Writer) error {
	c, err := LoadCluster(filepath.Join(dir, ClusterFile))
	if err != nil {
		return err
	}
	if c.Attached != nil {
		return errAttached
	}
	l := &local{Cluster: c, out: out}
	if !l.runs() {
		l.say("nothing of the cluster in %s runs", c.dir)
	}
	err = l.stopServer(ctx)
	for _, name := range c.Daemons() {
		if c.PID(name) != 0 {
			l.say("stopping %s", name)
		}
		stopCtx, cancel := context.WithTimeout(ctx, stopTimeout)
		err = errors.Join(err, c.stop(stopCtx, name))
		cancel()
	}
	if err != nil || !purge {
		return err
	}
	l.say("deleting %s", c.dir)
	if err := c.remove(dir); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	return nil
}

// runs says whether any process of the cluster does.
func (l *local) runs() bool {
	return postmaster.PID(l.Postgres.DataDir) != 0 ||
		slices.ContainsFunc(l.Daemons(), func(name string) bool { return l.PID(name) != 0 })
}

func (l *local) stopServer(ctx context.Context) error {
	if postmaster.PID(l.Postgres.DataDir) == 0 {
		return nil
	}
	install, err := compute.Find(ctx, compute.Want{BinDir: l.Postgres.BinDir})
	if err != nil {
		return err
	}
	password, err := l.password()
	if err != nil {
		return err
	}
	server, err := compute.Open(compute.OpenOptions{Install: install, DataDir: l.Postgres.DataDir, Password: password})
	if err != nil {
		return err
	}
	l.say("stopping postgres")
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := server.Stop(ctx, compute.Fast); err != nil {
		return err
	}
	return l.settleServer()
}
