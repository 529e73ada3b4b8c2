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

// cluster loads the cluster that the command line means; dir wins.
func (c *cli) cluster(dir string) (*operator.Cluster, error) {
	if dir == "" {
		dir = c.Cluster
	}
	path, err := operator.FindCluster(dir)
	if err != nil {
		return nil, err
	}
	return operator.LoadCluster(path)
}

type statusCmd struct {
	Dir    string `help:"Folder of the cluster." type:"path"`
	Output string `short:"o" help:"table or json." enum:"table,json" default:"table"`
	Watch  bool   `help:"Print again each second until Ctrl-C."`
}

// Run prints the status, once or each second.
func (s *statusCmd) Run(ctx context.Context, c *cli) error {
	cluster, err := c.cluster(s.Dir)
	if err != nil {
		return err
	}
	if err := s.print(ctx, cluster); err != nil || !s.Watch {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if s.Output == "table" {
			fmt.Print("\x1b[H\x1b[2J") // home, and clear the screen
		}
		if err := s.print(ctx, cluster); err != nil {
			return err
		}
	}
}

func (s *statusCmd) print(ctx context.Context, cluster *operator.Cluster) error {
	status := cluster.CollectStatus(ctx)
	if s.Output == "json" {
		return status.WriteJSON(os.Stdout)
	}
	return status.WriteTable(os.Stdout, time.Now())
}

type checkCmd struct {
	Dir    string `help:"Folder of the cluster." type:"path"`
	Nagios bool   `help:"One line with performance data; exits with 0, 1, 2 or 3 as monitoring plugins do."`
}

// Run checks each part.
func (k *checkCmd) Run(ctx context.Context, c *cli) error {
	cluster, err := c.cluster(k.Dir)
	if err != nil {
		if k.Nagios {
			fmt.Printf("WALHAVEN UNKNOWN - %s\n", err)
			return daemon.WithExit(3, errNoted)
		}
		return err
	}
	status := cluster.CollectStatus(ctx)
	severity := status.Severity()
	if k.Nagios {
		if err := status.WriteNagios(os.Stdout); err != nil {
			return err
		}
		if severity != operator.NagiosOK {
			return daemon.WithExit(severity, errNoted)
		}
		return nil
	}
	if err := status.WriteCheck(os.Stdout); err != nil {
		return err
	}
	if severity != operator.NagiosOK {
		return daemon.WithExit(daemon.ExitFailed, errors.New(status.State+": "+status.Reason))
	}
	return nil
}
