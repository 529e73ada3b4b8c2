package walproposer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/disposable"
	"github.com/walhaven/walhaven/internal/pgdata"
)

// CheckConfig are the settings of the subcommand check.
type CheckConfig struct {
	Targets
	PGData        string        `name:"pgdata" required:"" placeholder:"DIR" help:"Data directory of the stopped server."`
	Slot          string        `name:"slot" default:"walhaven" help:"The walproposer's replication slot."`
	TakeoverAfter time.Duration `name:"takeover-after" default:"5s" help:"How long every walproposer must have been silent before the directory may become the primary."`
	Takeover      bool          `name:"takeover" help:"Do not wait for that."`
	WriteStandby  bool          `name:"write-standby" help:"When it has to start as standby: write standby.signal and primary_conninfo, and end with 0."`
	AllowEarly    bool          `name:"allow-early-push" help:"When it may be the primary: note that, and the walproposer pushes WAL early. After a crash of its machine the server may then have to follow the safekeepers and be promoted."`
	Timeout       time.Duration `name:"timeout" default:"1m" help:"Give up after so long without a quorum."`

	DisposableCompute bool `name:"disposable-compute" help:"The server is about to run with fsync = off: mark the directory, durably, if it may be started."`
	AfterStop         bool `name:"after-stop" help:"The server was just stopped: write its filesystems to disk and take the mark of --disposable-compute away. Asks nobody."`
}

// errStandbyFirst is the exit of a check that wrote nothing.
var errStandbyFirst = errors.New("this directory must be started as a standby of the safekeepers first")

// run is the subcommand.
func (c *CheckConfig) run(ctx context.Context, all *Config, stdout, stderr io.Writer) error {
	logger, err := all.NewLogger(stderr)
	if err != nil {
		return err
	}
	if c.AfterStop {
		return c.afterStop(stdout)
	}
	o := CheckOptions{
		DataDir: c.PGData, Slot: c.Slot, Safekeepers: c.Safekeepers, SafekeeperUser: c.SafekeeperUser,
		Timeline: c.Timeline, TakeoverAfter: c.TakeoverAfter, Takeover: c.Takeover, Logger: logger,
	}
	if o.Tenant, err = c.tenant(); err == nil {
		o.SafekeeperPassword, err = c.password()
	}
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	v, err := Check(ctx, o)
	switch {
	case judge(err) != nil:
		return daemon.WithExit(daemon.ExitRefused, err)
	case errors.Is(err, errNoQuorum):
		return daemon.WithExit(daemon.ExitQuorumLost, err)
	case errors.Is(err, pgdata.ErrRunning):
		return daemon.Explain(err, "", "Stop it first: this is asked before a start, and a running server's WAL has no end.")
	case err != nil:
		return err
	}
	if _, err := fmt.Fprintf(stdout, "%s: %s\n", v.Action, v.Reason); err != nil {
		return err
	}
	if v.Action == StartStandby && !v.Prepared {
		if err := c.prepareStandby(v, o.SafekeeperPassword); err != nil {
			return err
		}
	}
	if v.Action == StartPrimary && c.AllowEarly {
		if err := noteCheck(c.PGData); err != nil {
			return err
		}
	}
	if c.DisposableCompute {
		return disposable.Set(c.PGData)
	}
	return nil
}

// prepareStandby writes what makes a standby, if that is wanted.
func (c *CheckConfig) prepareStandby(v *Verdict, password string) error {
	if !c.WriteStandby {
		return daemon.WithExit(daemon.ExitStandby, daemon.Explain(errStandbyFirst, "", "--write-standby prepares it."))
	}
	conninfo, err := StandbyConninfo(c.Safekeepers, c.SafekeeperUser, password, v.Timeline)
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	return WriteStandby(c.PGData, conninfo)
}

// afterStop makes what a server without fsync wrote durable.
func (c *CheckConfig) afterStop(stdout io.Writer) error {
	cleared, err := SettleStopped(c.PGData)
	switch {
	case judge(err) != nil:
		return daemon.WithExit(daemon.ExitRefused, err)
	case err != nil:
		return err
	}
	text := "nothing to do: no server ran here with fsync = off, or it did not stop in order"
	if cleared {
		text = "durable: all that the server wrote is on disk"
	}
	_, err = fmt.Fprintln(stdout, text)
	return err
}
