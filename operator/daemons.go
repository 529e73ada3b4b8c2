package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/compute"
)

// daemon is how one of walhaven's own programs is run in a local cluster.
type daemon struct {
	name string // also of its log and PID file
	http string
	args []string
	env  []string // NAME=VALUE, added to our own environment
}

// Daemons returns the names of the cluster's processes in the order in which
// they are stopped.
func (c *Cluster) Daemons() []string {
	names := []string{"walproposer"}
	for _, n := range c.Pageservers {
		names = append(names, nodeName("pageserver", n.ID))
	}
	for _, n := range slices.Concat(c.Safekeepers, c.Retired) {
		if !n.External {
			names = append(names, nodeName("safekeeper", n.ID))
		}
	}
	return names
}

// nodes returns the pageservers and safekeepers in the order of their start.
func (l *local) nodes() []daemon {
	login := []string{"--users-file", l.usersFile()}
	var all []daemon
	for _, n := range l.Pageservers {
		all = append(all, l.node("pageserver", n, login))
	}
	return append(all, l.safekeepers(l.Safekeepers)...)
}

// safekeepers are those of the nodes that run here.
func (l *local) safekeepers(nodes []Node) (all []daemon) {
	pushes := []string{"--peer-user", l.User, "--peer-password-file", l.PasswordFile, "--users-file", l.usersFile()}
	for _, n := range l.Pageservers {
		pushes = append(pushes, "--pageserver", n.PG)
	}
	for _, n := range nodes {
		if !n.External {
			all = append(all, l.node("safekeeper", n, pushes))
		}
	}
	return all
}

func (l *local) node(kind string, n Node, more []string) daemon {
	return daemon{name: nodeName(kind, n.ID), http: n.HTTP, args: append([]string{
		filepath.Join(l.binDir, kind), "--id", strconv.Itoa(n.ID), "--data-dir", n.DataDir,
		"--listen-pg", n.PG, "--listen-http", n.HTTP,
	}, more...)}
}

func (l *local) walproposer() daemon {
	args := []string{
		filepath.Join(l.binDir, "walproposer"),
		"--postgres", l.Postgres.Conninfo(),
		"--safekeepers", strings.Join(l.safekeeperAddresses(), ","),
		"--tenant-id", l.Tenant.String(), "--timeline", l.Timeline.String(),
		"--listen-http", l.Walproposer.HTTP, "--slot", l.slot(),
	}
	if l.User == localUser {
		args = append(args, "--ledger", filepath.Join(l.dir, "rpo.jsonl"))
	}
	if l.User == localUser && l.Attached == nil {
		args = append(args, "--postgres-log", compute.LogFile(l.Postgres.DataDir))
	}
	if l.Attached != nil && l.Attached.PostgresLog != "" {
		args = append(args, "--postgres-log", l.Attached.PostgresLog)
	}
	if l.Walproposer.InProcess {
		args = append(args, "--in-process")
	}
	switch {
	case l.Walproposer.EarlyPush && !l.Postgres.Disposable:
		args = append(args, "--early-push")
	case l.Attached == nil:
		args = append(args, "--no-early-push")
	}
	if l.Postgres.Disposable {
		args = append(args, "--disposable-compute")
	}
	if l.User != "" {
		args = append(args, "--safekeeper-user", l.User)
	}
	if l.PasswordFile != "" {
		args = append(args, "--safekeeper-password-file", l.PasswordFile)
	}
	return daemon{name: "walproposer", http: l.Walproposer.HTTP, args: args}
}

// DaemonOptions say how [StartDaemon] starts a process.
type DaemonOptions struct {
	Programs string   // the folder of walhaven's programs; empty: beside the running one
	Env      []string // NAME=VALUE, added to our own environment for this process
	Out      io.Writer
}

// StartDaemon starts one process of the cluster in dir by its name, as Up does
// with all, and returns when it is ready.
func StartDaemon(ctx context.Context, dir, name string, o DaemonOptions) error {
	l, fresh, err := openLocal(UpOptions{Dir: dir, Programs: o.Programs, Out: o.Out})
	if err != nil {
		return err
	}
	if fresh {
		return fmt.Errorf("there is no cluster in %s", dir)
	}
	for _, d := range slices.Concat(l.nodes(), l.safekeepers(l.Retired), []daemon{l.walproposer()}) {
		if d.name == name {
			d.env = o.Env
			return errors.Join(l.start(d), l.awaitReady(ctx, d))
		}
	}
	return fmt.Errorf("the cluster has no %s; it has %s", name, strings.Join(l.Daemons(), ", "))
}

// readyTimeout bounds how long a daemon may take to answer after its start;
// recovery of a large timeline is the slow case.
const readyTimeout = time.Minute

// awaitReady waits until the daemon's /readyz says yes, or it ends.
func (l *local) awaitReady(ctx context.Context, d daemon) error {
	return l.await(ctx, d, func(ctx context.Context) error { return httpOK(ctx, "http://"+d.http+"/readyz") })
}

// await waits until ready returns nil, or the daemon ends.
func (l *local) await(ctx context.Context, d daemon, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err // not waited for, and it may have ended by now
	}
	var last error
	err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
		if l.PID(d.name) == 0 {
			return false, fmt.Errorf("%s ended; its log %s ends with:\n%s", d.name, l.LogFile(d.name), tail(l.LogFile(d.name)))
		}
		now := ready(ctx)
		if now != nil && ctx.Err() == nil {
			last = now
		}
		return now == nil, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s is not ready after %s: %w; its log is %s", d.name, readyTimeout, last, l.LogFile(d.name))
	}
	return err
}
