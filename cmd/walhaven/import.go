package main

import (
	"context"
	"os"
	"time"

	"github.com/walhaven/walhaven/operator"
)

type importCmd struct {
	From     string        `help:"Folder of what pg_basebackup made, or of a server that was shut down; without it a base backup is taken." type:"existingdir" placeholder:"DIR"`
	Postgres string        `placeholder:"CONNINFO" help:"Connection string of a role with REPLICATION (default: that of the cluster file)."`
	Timeout  time.Duration `help:"Give up when committed WAL has not passed the backup's end by then." default:"10m"`
}

// Run imports a base backup.
func (i *importCmd) Run(ctx context.Context, c *cli) error {
	path, err := operator.FindCluster(c.Cluster)
	if err != nil {
		return err
	}
	cluster, err := operator.LoadCluster(path)
	if err != nil {
		return err
	}
	return cluster.Import(ctx, operator.ImportOptions{From: i.From, Postgres: i.Postgres, Timeout: i.Timeout, Out: os.Stdout})
}
