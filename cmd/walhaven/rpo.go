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

type rpoCmd struct {
	Dir    string `help:"Folder of the cluster." type:"path"`
	Output string `short:"o" help:"table, json or jsonl." enum:"table,json,jsonl" default:"table"`

	Timeout time.Duration `help:"Give up after so long without a quorum." default:"30s"`

	quorumFlags
}

// Run prints the intervals.
func (r *rpoCmd) Run(ctx context.Context, c *cli) error {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	var ledger operator.Ledger
	cluster, err := r.reach(ctx, c, r.Dir)
	if err == nil {
		ledger, err = r.ask(ctx, cluster)
	}
	if errors.Is(err, operator.ErrNoQuorum) {
		return daemon.WithExit(daemon.ExitQuorumLost, err)
	}
	if err != nil {
		return err
	}
	if r.Output != "table" {
		return operator.WriteRPOJSON(os.Stdout, ledger.Intervals, r.Output == "jsonl")
	}
	return operator.WriteRPO(os.Stdout, ledger)
}

// ask asks the walproposer, whose ledger is the first to know, and which says whether
// it sees waits that are cancelled; the safekeepers when it does not answer, or they are
// all that is known.
func (r *rpoCmd) ask(ctx context.Context, c *operator.Cluster) (operator.Ledger, error) {
	if len(r.Safekeepers) == 0 {
		intervals, err := c.RPO(ctx)
		if err == nil {
			return operator.Ledger{Intervals: intervals, CancelledWaits: c.CancelledWaits(ctx)}, nil
		}
		fmt.Fprintf(os.Stderr, "%v\nWhat the safekeepers know:\n", err)
	}
	intervals, err := c.RPOOfQuorum(ctx)
	return operator.Ledger{Intervals: intervals, Copy: true}, err
}
