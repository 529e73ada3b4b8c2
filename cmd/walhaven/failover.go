package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/operator"
)

// promotion are the flags that failover and switchover share.
type promotion struct {
	To          string        `placeholder:"CONNINFO" help:"Connection string of a superuser on the standby that is to become the primary. Run this beside it: the walproposer is started here."`
	Dir         string        `help:"Folder of the cluster file (default: that of --cluster, else walhaven-data)." type:"path"`
	Replication string        `placeholder:"CONNINFO" help:"How the walproposer connects to it, if not as --to with the role of the cluster file."`
	ListenHTTP  string        `name:"listen-http" placeholder:"HOST:PORT" help:"The walproposer's address for /metrics, /readyz and /v1/ (default: that of the cluster file)."`
	NoStart     bool          `help:"Print the walproposer's command line and wait until a service manager has started it."`
	Timeout     time.Duration `help:"Give up after so long without a quorum, or while the standby stays behind." default:"2m"`
}

func (p *promotion) options(c *cli) (operator.FailoverOptions, error) {
	if p.To == "" {
		return operator.FailoverOptions{}, daemon.WithExit(daemon.ExitUsage, errors.New("--to is required"))
	}
	return operator.FailoverOptions{
		Dir: c.folder(p.Dir), To: p.To, Replication: p.Replication, HTTP: p.ListenHTTP, NoStart: p.NoStart,
		Timeout: p.Timeout, Out: os.Stdout,
	}, nil
}

type failoverCmd struct {
	promotion
	SyncOnly bool `help:"Only make committed what may have been acknowledged, and print where WAL ends: for scripts that promote by themselves."`
	Yes      bool `help:"Go on though the old primary answers, and leave it behind."`
}

// Run promotes a standby in the place of a primary that is gone.
func (f *failoverCmd) Run(ctx context.Context, c *cli) error {
	if f.SyncOnly {
		return f.sync(ctx, c)
	}
	o, err := f.options(c)
	if err != nil {
		return err
	}
	o.Yes = f.Yes
	return operator.Failover(ctx, o)
}

// sync prints the LSN alone to standard output.
func (f *failoverCmd) sync(ctx context.Context, c *cli) error {
	cluster, err := c.cluster(f.Dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	end, err := cluster.Settle(ctx, func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) })
	if err != nil {
		return err
	}
	_, err = fmt.Println(end)
	return err
}

type switchoverCmd struct {
	promotion
	From string `placeholder:"CONNINFO" help:"Connection string of a superuser on the primary that is to be stopped (default: that of the cluster file)."`
	Stop string `placeholder:"COMMAND" help:"Shell command that stops it, such as 'ssh db1 pg_ctlcluster 17 main stop' (default: a fast shutdown if it runs on this machine)."`
}

// Run promotes a standby after the primary has been shut down.
func (s *switchoverCmd) Run(ctx context.Context, c *cli) error {
	o, err := s.options(c)
	if err != nil {
		return err
	}
	o.From, o.Stop = s.From, s.Stop
	return operator.Switchover(ctx, o)
}
