package main

import (
	"context"
	"os"
	"time"

	"github.com/walhaven/walhaven/operator"
)

type orphansCmd struct {
	PGData  string        `name:"pgdata" required:"" placeholder:"DIR" help:"Data directory of the stopped server." type:"path"`
	Dir     string        `help:"Folder of the cluster." type:"path"`
	Timeout time.Duration `help:"Give up after so long without a quorum." default:"1m"`
	Output  string        `short:"o" help:"table, json or jsonl (a line a transaction)." enum:"table,json,jsonl" default:"table"`

	quorumFlags
}

// Run prints the report.
func (o *orphansCmd) Run(ctx context.Context, c *cli) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	cluster, err := o.reach(ctx, c, o.Dir)
	if err != nil {
		return err
	}
	report, err := cluster.Orphans(ctx, o.PGData)
	if err != nil {
		return err
	}
	write := map[string]func(*operator.Orphans) error{
		"table": func(r *operator.Orphans) error { return r.WriteTable(os.Stdout) },
		"json":  func(r *operator.Orphans) error { return r.WriteJSON(os.Stdout) },
		"jsonl": func(r *operator.Orphans) error { return r.WriteJSONLines(os.Stdout) },
	}
	return write[o.Output](report)
}
