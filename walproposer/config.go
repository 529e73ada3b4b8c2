package walproposer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/internal/config"
	"github.com/walhaven/walhaven/internal/conninfo"
	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/ownthread"
	"github.com/walhaven/walhaven/wal"
)

// Targets are the settings that the program and its subcommand sync share.
type Targets struct {
	Safekeepers            []string `name:"safekeepers" required:"" placeholder:"HOST:PORT,..." help:"All safekeepers of the timeline: host:port, or libpq connection strings."`
	SafekeeperUser         string   `name:"safekeeper-user" default:"walhaven" help:"User for connections to safekeepers."`
	SafekeeperPassword     string   `name:"safekeeper-password" secret:"" help:"Password of --safekeeper-user."`
	SafekeeperPasswordFile string   `name:"safekeeper-password-file" placeholder:"FILE" help:"File with the password of --safekeeper-user."`
	TenantID               string   `name:"tenant-id" placeholder:"ID" help:"Tenant, 32 hexadecimal digits; default: the server's system identifier."`
	Timeline               string   `name:"timeline" default:"main" placeholder:"NAME|ID" help:"Timeline, by name or as 32 hexadecimal digits."`
}

// RunConfig are the settings of the daemon.
type RunConfig struct {
	Targets
	Postgres      string        `name:"postgres" required:"" placeholder:"CONNINFO" help:"Connection string of PostgreSQL, as libpq takes it. The role needs REPLICATION and pg_monitor."`
	PasswordFile  string        `name:"password-file" placeholder:"FILE" help:"File with the password for --postgres."`
	QueueSize     config.Bytes  `name:"queue-size" default:"64MiB" help:"WAL kept in memory for safekeepers that are a little behind."`
	Slot          string        `name:"slot" default:"walhaven" help:"Physical replication slot in PostgreSQL; made when missing."`
	ListenHTTP    string        `name:"listen-http" default:"127.0.0.1:7680" help:"Address for /metrics, /livez, /readyz and /v1/; empty for none."`
	TLSCert       string        `name:"tls-cert" placeholder:"FILE" help:"Certificate chain in PEM for --listen-http; files are read again when they change."`
	TLSKey        string        `name:"tls-key" placeholder:"FILE" help:"Key of the certificate in PEM."`
	TakeoverAfter time.Duration `name:"takeover-after" default:"5s" help:"How long another walproposer must have been silent before this one takes its place."`
	Takeover      bool          `name:"takeover" help:"Take the place of another walproposer at once, this time."`
	ShutdownGrace time.Duration `name:"shutdown-grace" default:"10s" help:"How long a PostgreSQL that shuts down waits for the quorum to have its last WAL."`
	Ledger        string        `name:"ledger" placeholder:"FILE" help:"File in which each interval is recorded in which PostgreSQL did not wait for the quorum; for walhaven rpo."`
	PostgresLog   string        `name:"postgres-log" placeholder:"FILE" help:"File that the log of PostgreSQL goes to, where it has no logging collector; the ledger takes waits that were cancelled and settings that were taken back from it."`
	ApplySource   string        `name:"apply-source" default:"quorum" enum:"quorum,pageserver" help:"Whose position counts as applied, for synchronous_commit = remote_apply: ${enum}."`
	InProcess     bool          `name:"in-process" help:"Run tap and push workers as goroutines of this process instead of processes of their own."`
	EarlyPush     *bool         `name:"early-push" negatable:"" help:"Push WAL as soon as PostgreSQL has written it to pg_wal, while it flushes that; on PostgreSQL's machine only. Default: if it was started behind check --allow-early-push."`

	DisposableCompute bool `name:"disposable-compute" help:"Let PostgreSQL run with fsync = off: after a crash of its machine it has to be rebuilt. Refused unless check has marked its data directory."`
}

// Config is everything that an operator can set. The tags are the only place
// where a setting is described.
type Config struct {
	config.Common
	daemon.LogConfig

	Run   RunConfig   `cmd:"" default:"withargs" help:"Push the WAL of a PostgreSQL to a quorum of safekeepers (default)."`
	Check CheckConfig `cmd:"" help:"Say how a stopped data directory may be started: as primary, as standby, or not."`
	Sync  SyncConfig  `cmd:"" help:"Settle the end of WAL without a server, and print it."`
}

// SyncConfig are the settings of the subcommand sync.
type SyncConfig struct {
	Targets
	Timeout time.Duration `name:"timeout" default:"30s" help:"Give up after so long."`
}

// tenant reads --tenant-id, zero when it was not given.
func (t *Targets) tenant() (id wal.TenantID, err error) {
	if t.TenantID == "" {
		return id, nil
	}
	if id, err = wal.ParseTenantID(t.TenantID); err != nil {
		return id, fmt.Errorf("--tenant-id: %w", err)
	}
	return id, nil
}

func (t *Targets) password() (string, error) {
	if t.SafekeeperPasswordFile == "" {
		return t.SafekeeperPassword, nil
	}
	return readPassword(t.SafekeeperPasswordFile)
}

func readPassword(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// options turns settings into Options.
func (c *RunConfig) options() (Options, error) {
	tenant, err := c.tenant()
	if err != nil {
		return Options{}, err
	}
	if err := conninfo.Check(c.Postgres); err != nil {
		return Options{}, fmt.Errorf("--postgres: %w", err)
	}
	o := Options{
		Postgres: c.Postgres, Safekeepers: c.Safekeepers, SafekeeperUser: c.SafekeeperUser,
		Tenant: tenant, Timeline: c.Timeline, Slot: c.Slot, QueueSize: int(c.QueueSize),
		TakeoverAfter: c.TakeoverAfter, Takeover: c.Takeover, ShutdownGrace: c.ShutdownGrace, Ledger: c.Ledger,
		PostgresLog: c.PostgresLog, ApplySource: c.ApplySource, InProcess: c.InProcess, EarlyPush: earlyPushOf(c.EarlyPush), DisposableCompute: c.DisposableCompute,
	}
	if o.SafekeeperPassword, err = c.password(); err != nil {
		return o, err
	}
	if c.PasswordFile != "" {
		if o.PostgresPassword, err = readPassword(c.PasswordFile); err != nil {
			return o, err
		}
	}
	return o, nil
}

// tls is the listener's configuration, nil without a certificate.
func (c *RunConfig) tls(logger *slog.Logger) (*tls.Config, error) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return nil, errors.New("--tls-cert and --tls-key belong together")
	}
	if c.TLSCert == "" {
		return nil, nil
	}
	return auth.ServerTLS(auth.TLSFiles{Certificate: c.TLSCert, Key: c.TLSKey}, logger)
}

// Main runs what the command line asked for.
func (c *Config) Main(ctx context.Context, command string, stdout, stderr io.Writer) error {
	switch command {
	case "sync":
		return c.Sync.run(ctx, c, stdout, stderr)
	case "check":
		return c.Check.run(ctx, c, stdout, stderr)
	}
	return c.Run.run(ctx, c, stderr)
}

// run is the daemon.
func (c *RunConfig) run(ctx context.Context, all *Config, stderr io.Writer) error {
	o, err := c.options()
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	logger, err := all.NewLogger(stderr)
	if err != nil {
		return err
	}
	tlsConfig, err := c.tls(logger)
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	if o.InProcess {
		ownthread.Allow(places(o))
	}
	health := daemon.NewHealth()
	registry := daemon.NewRegistry("walproposer", health)
	w, err := New(o, Deps{Logger: logger, Registerer: registry, Health: health, Log: all.LogConfig})
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	var group daemon.Group
	if c.ListenHTTP != "" {
		ln, err := daemon.Listen(ctx, c.ListenHTTP)
		if err != nil {
			return err
		}
		web := daemon.NewHTTP(daemon.HTTPOptions{
			Program: "walproposer", Health: health, Gatherer: registry, V1: w.Handler(), Logger: logger, TLS: tlsConfig,
		})
		web.HandleDebug("/debug/commits", daemon.Stages(registry, stages))
		group.Add("http", func(ctx context.Context) error { return web.Serve(ctx, ln) })
	}
	group.Add("walproposer", func(ctx context.Context) error {
		err := w.Run(ctx)
		if judge(err) != nil {
			return daemon.WithExit(daemon.ExitRefused, err)
		}
		return err
	})
	return group.Run(ctx)
}

// run is the subcommand.
func (c *SyncConfig) run(ctx context.Context, all *Config, stdout, stderr io.Writer) error {
	logger, err := all.NewLogger(stderr)
	if err != nil {
		return err
	}
	tenant, err := c.tenant()
	if err == nil && tenant.IsZero() {
		err = fmt.Errorf("--tenant-id is required: there is no server to ask")
	}
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	password, err := c.password()
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	p, err := newPeers(c.Safekeepers, c.SafekeeperUser, password, tenant, c.Timeline)
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	id, err := p.resolve(ctx)
	if err != nil {
		return lost(err)
	}
	end, err := Sync(ctx, SyncOptions{Safekeepers: p.all(), Tenant: tenant, Timeline: id, Logger: logger})
	if err != nil {
		return lost(err)
	}
	_, err = fmt.Fprintln(stdout, end)
	return err
}

// lost gives an error the exit code of a quorum that could not be asked, if that
// is what it says.
func lost(err error) error {
	if judge(err) != nil {
		return err
	}
	return daemon.WithExit(daemon.ExitQuorumLost, err)
}
