package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/walhaven/walhaven/operator"
)

type attachCmd struct {
	Postgres     string   `required:"" placeholder:"CONNINFO" help:"Connection string of a superuser, as libpq takes it. The walproposer connects to the same host and port."`
	Safekeepers  []string `placeholder:"HOST:PORT,..." help:"All safekeepers, an odd number (default: those of the cluster file)."`
	Dir          string   `help:"Folder for the cluster file, the walproposer's password and log (default: that of --cluster, else walhaven-data)." type:"path"`
	User         string   `help:"User for connections to safekeepers." default:"walhaven"`
	PasswordFile string   `help:"File with the password of --user." type:"path"`
	Timeline     string   `help:"Name of the new timeline." default:"main"`
	Role         string   `help:"Role that is made in PostgreSQL for the walproposer." default:"walhaven"`
	Slot         string   `help:"Replication slot that is made in PostgreSQL." default:"walhaven"`
	Replication  string   `placeholder:"CONNINFO" help:"How the walproposer connects, if not as --postgres with --role; its role must have REPLICATION and pg_monitor."`
	ListenHTTP   string   `name:"listen-http" help:"The walproposer's address for /metrics, /readyz and /v1/." default:"127.0.0.1:7680"`
	PostgresLog  string   `name:"postgres-log" placeholder:"FILE" help:"File that PostgreSQL's log goes to, where it has no logging collector: the walproposer records commits that are cancelled while they wait, and settings that are taken back, from it." type:"path"`
	ManagedBy    string   `help:"Who writes PostgreSQL's settings: patroni, cloudnativepg (default: found out)." enum:",patroni,cloudnativepg" default:""`
	NoStart      bool     `help:"Print the walproposer's command line and wait until a service manager has started it."`
	DryRun       bool     `help:"Check everything, print what would be done, change nothing."`
}

// Run attaches the server.
func (a *attachCmd) Run(ctx context.Context, c *cli) error {
	return operator.Attach(ctx, operator.AttachOptions{
		Dir: c.folder(a.Dir), Postgres: a.Postgres, Replication: a.Replication, Safekeepers: a.Safekeepers,
		User: a.User, Password: a.PasswordFile, Timeline: a.Timeline, Role: a.Role, Slot: a.Slot,
		HTTP: a.ListenHTTP, PostgresLog: a.PostgresLog, Manager: a.ManagedBy, NoStart: a.NoStart, DryRun: a.DryRun, Out: os.Stdout,
	})
}

type detachCmd struct {
	Dir         string `help:"Folder of the cluster file (default: that of --cluster, else walhaven-data)." type:"path"`
	Postgres    string `placeholder:"CONNINFO" help:"Connection string of a superuser (default: attach's, with the password from PGPASSWORD or a password file)."`
	KeepPushing bool   `help:"Only let commits return at once; WAL still goes to the safekeepers."`
}

// Run detaches the server.
func (d *detachCmd) Run(ctx context.Context, c *cli) error {
	return operator.Detach(ctx, operator.DetachOptions{
		Dir: c.folder(d.Dir), Postgres: d.Postgres, KeepPushing: d.KeepPushing, Out: os.Stdout,
	})
}

// folder is where the cluster file is, or is to be.
func (c *cli) folder(dir string) string {
	if dir != "" {
		return dir
	}
	named := c.Cluster
	if named == "" {
		named = os.Getenv("WALHAVEN_CLUSTER")
	}
	if named == "" {
		return operator.DefaultDir
	}
	if filepath.Base(named) == operator.ClusterFile {
		return filepath.Dir(named)
	}
	return named
}
