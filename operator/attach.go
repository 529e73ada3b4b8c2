package operator

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/walhaven/walhaven/internal/conninfo"
	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/replication"
)

// AttachOptions are the choices of `walhaven attach`.
type AttachOptions struct {
	Dir         string   // folder of the cluster file, the walproposer's log and password
	Postgres    string   // a superuser's connection string
	Replication string   // the walproposer's connection string; empty: Postgres with Role
	Safekeepers []string // host:port; empty: those of the cluster file
	User        string   // logs in to the safekeepers
	Password    string   // file with its password; empty: they trust
	Timeline    string   // name of the new timeline
	Role, Slot  string   // what to make in PostgreSQL
	HTTP        string   // the walproposer's --listen-http
	PostgresLog string   // file of PostgreSQL's log, where it has no logging collector
	Manager     string   // who writes PostgreSQL's settings; empty: found out
	NoStart     bool     // somebody else runs the walproposer
	DryRun      bool     // check and print, change nothing
	Programs    string   // where walhaven's own programs are; empty: beside this one
	Out         io.Writer
}

// attach is one that is under way.
type attach struct {
	*local
	o     AttachOptions
	pg    *pgAdmin
	facts replication.Row   // of the server
	admin map[string]string // where it is, as the superuser
	nodes []nodeFacts       // of the safekeepers, in the order of the cluster file
	hands bool              // synchronous_standby_names is the operator's to set
}

// Attach makes commits of a running server wait for the quorum, without a
// restart. Whatever it runs or changes it prints first. It may be called again
// after any failure and goes on where it was; up to the last step no commit
// waits for anything.
func Attach(ctx context.Context, o AttachOptions) error {
	a, err := openAttach(ctx, o)
	if err != nil {
		return err
	}
	defer a.pg.close()
	if err := a.check(ctx); err != nil {
		return err
	}
	if err := a.plan(); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		a.makeRole, a.probeRole, a.foundTimeline, a.runWalproposer, a.catchUp, a.setNames,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return a.finish(ctx)
}

// openAttach reads or plans the cluster file and connects to the server.
func openAttach(ctx context.Context, o AttachOptions) (*attach, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolve cluster folder: %w", err)
	}
	a := &attach{o: o, local: &local{out: o.Out, binDir: o.Programs}}
	if a.binDir == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find walhaven's programs: %w", err)
		}
		a.binDir = filepath.Dir(exe)
	}
	a.Cluster, err = LoadCluster(filepath.Join(dir, ClusterFile))
	if errors.Is(err, fs.ErrNotExist) {
		a.Cluster, err = &Cluster{dir: dir, User: o.User}, nil
	}
	if err != nil {
		return nil, err
	}
	if a.Attached == nil && a.Postgres.DataDir != "" && a.Postgres.ConnString == "" && a.usersFileExists() {
		return nil, fmt.Errorf("the cluster in %s has a PostgreSQL of its own, which walhaven up started; choose another --dir", dir)
	}
	if o.Password != "" {
		if a.PasswordFile, err = filepath.Abs(o.Password); err != nil {
			return nil, fmt.Errorf("resolve --password-file: %w", err)
		}
	}
	if o.User != "" {
		a.User = o.User
	}
	if err := a.useSafekeepers(o.Safekeepers); err != nil {
		return nil, err
	}
	if a.admin, err = resolveServer(o.Postgres); err != nil {
		return nil, program.WithExit(program.ExitUsage, fmt.Errorf("--postgres: %w", err))
	}
	if a.pg, err = connectAdmin(ctx, o.Postgres, a.say); err != nil {
		return nil, err
	}
	a.pg.dry = o.DryRun
	return a, nil
}

func (c *Cluster) usersFileExists() bool {
	_, err := os.Stat(c.usersFile())
	return err == nil
}

// useSafekeepers takes the members from the command line, unless the cluster
// file has them.
func (a *attach) useSafekeepers(addresses []string) error {
	if len(addresses) == 0 {
		if len(a.Safekeepers) == 0 {
			return program.WithExit(program.ExitUsage, program.Explain(errors.New("no safekeepers are named"), "",
				"Give --safekeepers HOST:PORT,HOST:PORT,HOST:PORT, or a cluster file that has them."))
		}
		return nil
	}
	known := map[string]Node{}
	for _, n := range a.Safekeepers {
		known[n.PG] = n
	}
	if a.Attached != nil && len(known) != len(addresses) {
		return fmt.Errorf("this attach began with %d safekeepers; finish it or detach first", len(known))
	}
	a.Safekeepers = nil
	for _, addr := range addresses {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return program.WithExit(program.ExitUsage, fmt.Errorf("--safekeepers: %w", err))
		}
		n, found := known[addr]
		if a.Attached != nil && !found {
			return fmt.Errorf("this attach began without safekeeper %s; finish it or detach first", addr)
		}
		n.PG = addr
		a.Safekeepers = append(a.Safekeepers, n)
	}
	return nil
}

// plan completes the cluster file and writes it, before anything is changed.
func (a *attach) plan() error {
	for i, n := range a.nodes {
		a.Safekeepers[i].ID, a.Safekeepers[i].DataDir = n.id, cmp.Or(a.Safekeepers[i].DataDir, n.dataDir)
	}
	var err error
	if a.Attached == nil {
		a.Attached = &Attachment{Role: a.o.Role, Slot: a.o.Slot, RoleMade: a.o.Replication == "", SlotMade: true}
		a.Name = a.o.Timeline
		if _, err := rand.Read(a.Timeline[:]); err != nil {
			return fmt.Errorf("make timeline ID: %w", err)
		}
		if a.Tenant, err = tenantOf(a.facts["system_identifier"]); err != nil {
			return err
		}
		a.Walproposer.HTTP = a.o.HTTP
	}
	a.Attached.Admin = conninfo.Format(a.admin)
	a.Attached.PostgresLog = cmp.Or(a.o.PostgresLog, a.Attached.PostgresLog)
	a.Postgres.ConnString = conninfo.Format(asRole(a.admin, a.Attached.Role, a.rolePassFile()))
	if a.o.Replication != "" {
		server, err := resolveServer(a.o.Replication)
		if err != nil {
			return program.WithExit(program.ExitUsage, fmt.Errorf("--replication: %w", err))
		}
		a.Attached.Role = server["user"]
		a.Postgres.ConnString = conninfo.Format(server)
	}
	a.Postgres.DataDir = a.facts["data_directory"]
	if a.Postgres.Port, err = strconv.Atoi(a.facts["port"]); err != nil {
		return fmt.Errorf("port of the server: %w", err)
	}
	return a.record()
}

// record writes the cluster file, unless this is a rehearsal.
func (a *attach) record() error {
	if a.o.DryRun {
		return nil
	}
	for _, d := range []string{a.dir, a.runDir(), a.logDir()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make cluster folder: %w", err)
		}
	}
	invariant.Point("operator/record/before")
	err := a.save()
	invariant.Point("operator/record/after")
	return err
}

// rolePassFile holds the password of the walproposer's role, as libpq's passfile.
func (c *Cluster) rolePassFile() string { return filepath.Join(c.dir, "walproposer.pgpass") }
