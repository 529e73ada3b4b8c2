package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/walhaven/walhaven/operator"
)

type rpoCmd struct {
	Dir    string `help:"Folder of the cluster." type:"path"`
	Output string `short:"o" help:"table or json." enum:"table,json" default:"table"`
}

// Run prints the intervals.
func (r *rpoCmd) Run(ctx context.Context, c *cli) error {
	cluster, err := c.cluster(r.Dir)
	if err != nil {
		return err
	}
	intervals, err := cluster.RPO(ctx)
	if err != nil {
		return err
	}
	if r.Output == "json" {
		return json.NewEncoder(os.Stdout).Encode(intervals)
	}
	return operator.WriteRPO(os.Stdout, intervals)
}
