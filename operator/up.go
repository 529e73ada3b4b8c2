package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/internal/durablefile"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/walproposer"
)

// UpOptions are the choices of `walhaven up`.
type UpOptions struct {
	Dir         string        // the cluster's folder; it is made when missing
	BinDir      string        // where PostgreSQL's programs are; empty: looked for
	Major       int           // the wanted PostgreSQL major; 0: any
	Download    bool          // allow fetching PostgreSQL's programs when there are none
	Safekeepers int           // how many, in a new cluster
	Bench       time.Duration // how long pgbench runs on a new cluster; 0: not at all
	InProcess   bool          // of a new cluster: walproposer --in-process
	EarlyPush   bool          // of a new cluster: walproposer --early-push, unless it is disposable
	Disposable  bool          // the server runs with fsync = off from now on
	Programs    string        // where walhaven's own programs are; empty: beside this one
	Out         io.Writer
}

// Up starts the cluster in o.Dir, making it first when there is none, and
// returns when commits are acknowledged by a quorum and what is on the disks
// has been compared. It may be called again on a cluster that runs, in part or
// whole. The daemons outlive this process.
func Up(ctx context.Context, o UpOptions) (*Cluster, error) {
	l, fresh, err := openLocal(o)
	if err != nil {
		return nil, err
	}
	if l.Attached != nil {
		return nil, errAttached
	}
	if err := l.mayBecomeDisposable(o, fresh); err != nil {
		return nil, err
	}
	install, err := compute.Find(ctx, l.want(o, fresh))
	if err != nil {
		return nil, err
	}
	l.say("PostgreSQL %s from %s", install.Version, install.BinDir)
	if o.Major != 0 && o.Major != install.Version.Major {
		l.say("The cluster in %s was made with it and stays so; PostgreSQL %d is for another --dir.", l.dir, o.Major)
	}
	steps := []func(context.Context) error{
		func(ctx context.Context) error { return l.openServer(ctx, install) },
		l.startNodes,
		l.checkServer,
		l.startServer,
		l.found,
		l.startWalproposer,
		l.requireQuorum,
		l.takeBaseBackup,
		l.importPages,
		l.giveUpFsync,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	if fresh {
		if err := l.bench(ctx, o.Bench); err != nil {
			return nil, err
		}
	}
	if err := l.compare(ctx); err != nil {
		return nil, err
	}
	return l.Cluster, l.printNext()
}

// want keeps a cluster on the binaries that it was made with.
func (l *local) want(o UpOptions, fresh bool) compute.Want {
	w := compute.Want{Major: o.Major, BinDir: o.BinDir, Download: o.Download, Progress: func(s string) { l.say("+ %s", s) }}
	if !fresh && o.BinDir == "" {
		w.BinDir, w.Major = l.Postgres.BinDir, 0
	}
	return w
}

// openServer makes or opens the data directory and completes the cluster file.
func (l *local) openServer(ctx context.Context, install compute.Install) error {
	password, err := l.password()
	if err != nil {
		return err
	}
	l.Postgres.BinDir = install.BinDir
	if _, err := os.Stat(filepath.Join(l.Postgres.DataDir, "PG_VERSION")); err == nil {
		l.server, err = compute.Open(compute.OpenOptions{Install: install, DataDir: l.Postgres.DataDir, Password: password})
		if err != nil {
			return err
		}
	} else {
		l.say("+ initdb -D %s", l.Postgres.DataDir)
		l.server, err = compute.Init(ctx, compute.InitOptions{
			Install: install, DataDir: l.Postgres.DataDir, Port: l.Postgres.Port,
			User: localUser, Password: password, DataChecksums: true,
			Settings: map[string]string{
				"wal_level":             "replica",
				"max_wal_senders":       "10",
				"max_replication_slots": "10",
			},
		})
		if err != nil {
			return err
		}
	}
	l.Postgres.SocketDir = l.server.SocketDir()
	if err := l.save(); err != nil {
		return err
	}
	return l.writeUsers(password)
}

// writeUsers makes the file of SCRAM verifiers, once.
func (l *local) writeUsers(password string) error {
	if _, err := os.Stat(l.usersFile()); err == nil {
		return nil
	}
	verifier, err := auth.MakeVerifier(password)
	if err != nil {
		return fmt.Errorf("make SCRAM verifier: %w", err)
	}
	return durablefile.Replace(l.usersFile(), []byte(auth.User{Name: localUser, Verifier: verifier, Admin: true}.String()+"\n"), 0o600)
}

// startNodes starts pageservers and safekeepers and waits until they serve.
func (l *local) startNodes(ctx context.Context) error {
	nodes := l.nodes()
	for _, d := range nodes {
		if err := l.start(d); err != nil {
			return err
		}
	}
	for _, d := range nodes {
		if err := l.awaitReady(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// startServer starts PostgreSQL unless it runs.
func (l *local) startServer(ctx context.Context) error {
	if pid := l.server.PID(); pid != 0 {
		l.say("postgres runs already (PID %d)", pid)
		return nil
	}
	if err := l.markServer(ctx); err != nil {
		return err
	}
	l.say("+ postgres -D %s", l.Postgres.DataDir)
	if err := l.server.Start(ctx, compute.StartOptions{Detach: true}); err != nil {
		return err
	}
	if l.Tenant.IsZero() {
		id, err := l.server.QueryValue(ctx, "SELECT system_identifier FROM pg_control_system()")
		if err != nil {
			return fmt.Errorf("read system identifier: %w", err)
		}
		if l.Tenant, err = tenantOf(id); err != nil {
			return err
		}
		return l.save()
	}
	return nil
}

// found makes the slot and the timeline, unless a majority has it.
func (l *local) found(ctx context.Context) error {
	known := 0
	for _, n := range l.Safekeepers {
		if _, err := l.timelineRow(ctx, n.PG); err == nil {
			known++
		}
	}
	if known > len(l.Safekeepers)/2 {
		return nil
	}
	conninfos, err := l.safekeeperConninfos()
	if err != nil {
		return err
	}
	l.say("founding timeline %s (%s) of tenant %s on %s", l.Timeline, l.Name, l.Tenant, strings.Join(l.safekeeperAddresses(), ", "))
	return walproposer.Found(ctx, walproposer.FoundOptions{
		Postgres: l.Postgres.Conninfo(), Safekeepers: conninfos,
		Tenant: l.Tenant, Timeline: l.Timeline, Name: l.Name, Slot: l.slot(),
		Progress: func(line string) {
			l.say("+ %s", line)
			invariant.Point("operator/found/before")
		},
	})
}

// startWalproposer starts it and waits until a quorum acknowledges.
func (l *local) startWalproposer(ctx context.Context) error {
	d := l.walproposer()
	if err := l.start(d); err != nil {
		return err
	}
	return l.await(ctx, d, func(ctx context.Context) error {
		switch s := l.walproposerStatus(ctx); {
		case s.Error != "":
			return errors.New(s.Error)
		case s.State != walproposerStreaming:
			return errors.New(s.State + ": " + s.Reason)
		}
		return nil
	})
}

// requireQuorum makes commits wait for the quorum from here on. The walproposer
// is ready only when PostgreSQL is set up so.
func (l *local) requireQuorum(ctx context.Context) error {
	const setting, value = "synchronous_standby_names", "walhaven"
	if l.server.Setting(setting) != value {
		l.say("+ %s = '%s'; reload", setting, value)
		if err := l.server.Set(ctx, map[string]string{setting: value}); err != nil {
			return err
		}
	}
	return l.awaitReady(ctx, l.walproposer())
}

// baseSlot reserves, on each safekeeper, the WAL that the base backup needs.
const baseSlot = "walhaven_base"

// takeBaseBackup takes the base that a restore starts from, once. Its WAL is
// on the safekeepers, so none is put into it; a slot keeps it there.
func (l *local) takeBaseBackup(ctx context.Context) error {
	dir := l.backupDir()
	if _, err := os.Stat(filepath.Join(dir, "backup_manifest")); err == nil {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove unfinished base backup: %w", err)
	}
	for _, n := range l.Safekeepers {
		command := "CREATE_REPLICATION_SLOT " + baseSlot + " PHYSICAL RESERVE_WAL"
		l.say("+ %s: %s", n.PG, command)
		if _, err := l.query(ctx, n.PG, command, physical); err != nil && protocol.SQLState(err) != protocol.CodeDuplicateObject {
			return fmt.Errorf("reserve the base backup's WAL on safekeeper %d: %w", n.ID, err)
		}
	}
	l.say("+ pg_basebackup -D %s -c fast -X none", dir)
	return l.server.BaseBackup(ctx, dir, "-X", "none")
}

// importPages gives the pageserver the base backup to begin from, unless it has
// pages. A cluster without pages still keeps every commit, so a failure is said
// and is not the end.
func (l *local) importPages(ctx context.Context) error {
	err := l.Import(ctx, ImportOptions{From: l.backupDir(), Timeout: importTimeout, Out: l.out})
	if err != nil && ctx.Err() == nil {
		l.say("no pages yet: %v; run walhaven import", err)
		return nil
	}
	return err
}

// importTimeout bounds how long up waits for a small base to be consistent.
const importTimeout = 30 * time.Second

// bench puts a few seconds of ordinary load on a new cluster.
func (l *local) bench(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	l.say("+ pgbench -i -s 5")
	if _, err := l.server.Pgbench(ctx, "-i", "-q", "-s", "5"); err != nil {
		return err
	}
	seconds := fmt.Sprint(max(1, int(d.Seconds())))
	l.say("+ pgbench -n -c 4 -T %s", seconds)
	out, err := l.server.Pgbench(ctx, "-n", "-c", "4", "-T", seconds)
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "transactions actually") || strings.HasPrefix(line, "latency average") || strings.HasPrefix(line, "tps") || strings.Contains(line, "failed") {
			l.say("  %s", strings.TrimSpace(line))
		}
	}
	return nil
}

// printNext says how to go on.
func (l *local) printNext() error {
	restore, err := l.restoreProgram()
	if err != nil {
		return err
	}
	program := filepath.Join(l.binDir, "walhaven")
	file := filepath.Join(l.dir, ClusterFile)
	l.say("\nEvery commit now waits for a majority of the %d safekeepers. Go on with:", len(l.Safekeepers))
	psql := "psql"
	if _, err := exec.LookPath(psql); err != nil {
		psql = filepath.Join(l.Postgres.BinDir, psql)
	}
	l.say("  %s \"%s\"", psql, l.Postgres.Conninfo())
	l.say("  PGPASSWORD=$(cat %s) %s 'host=127.0.0.1 port=%s user=%s dbname=postgres' -c TIMELINE_STATUS", l.PasswordFile, psql, portOf(l.Safekeepers[0].PG), l.User)
	l.say("  %s status --cluster %s", program, file)
	l.say("To bring it back from %s alone, put this and a file recovery.signal into a copy of it and start the copy:", l.backupDir())
	l.say("  restore_command = '%s wal get %%f %%p --cluster %s'", restore, file)
	l.say("Stop everything with:\n  %s down --dir %s", program, l.dir)
	return nil
}

// Wait returns when ctx ends, or with an error when a daemon ends by itself.
func (c *Cluster) Wait(ctx context.Context) error {
	err := poll(ctx, time.Second, func() (bool, error) {
		for _, name := range c.Daemons() {
			if c.PID(name) == 0 {
				return false, fmt.Errorf("%s has ended; its log %s ends with:\n%s", name, c.LogFile(name), tail(c.LogFile(name)))
			}
		}
		return false, nil
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
