package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/wal"
)

type waitCmd struct {
	LSN     string        `arg:"" help:"Position, as pg_current_wal_insert_lsn() answers after a commit."`
	Dir     string        `help:"Folder of the cluster." type:"path"`
	Timeout time.Duration `help:"How long to wait; 0 only asks." default:"30s"`
	Output  string        `short:"o" help:"table, json or jsonl (both one line)." enum:"table,json,jsonl" default:"table"`

	quorumFlags
}

// Run prints the receipt; the exit code says what it says.
func (w *waitCmd) Run(ctx context.Context, c *cli) error {
	at, err := wal.ParseLSN(w.LSN)
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	receipt, err := w.wait(ctx, c, at)
	if errors.Is(err, operator.ErrNoQuorum) {
		return daemon.WithExit(daemon.ExitQuorumLost, err)
	}
	if err != nil {
		return err
	}
	if w.Output != "table" {
		err = json.NewEncoder(os.Stdout).Encode(receipt)
	} else {
		err = receipt.WriteTable(os.Stdout)
	}
	if err == nil && !receipt.Durable {
		return daemon.WithExit(daemon.ExitFailed, errNoted)
	}
	return err
}

func (w *waitCmd) wait(ctx context.Context, c *cli, at wal.LSN) (*operator.Receipt, error) {
	deadline := time.Now().Add(w.Timeout)
	looking, cancel := context.WithDeadline(ctx, deadline.Add(time.Second)) // 0 asks once
	defer cancel()
	cluster, err := w.reach(looking, c, w.Dir)
	if err != nil {
		return nil, err
	}
	return cluster.WaitDurable(ctx, at, max(0, time.Until(deadline)))
}
