package main

import (
	"context"
	"fmt"
	"os"

	"github.com/walhaven/walhaven/operator"
)

type lsnCmd struct {
	At     string `required:"" placeholder:"MOMENT" help:"X/Y, a time with its zone as '2026-11-22 10:42:07+01', name:RESTORE_POINT, xid:NUMBER, or latest."`
	Output string `short:"o" help:"table, json or jsonl." enum:"table,json,jsonl" default:"table"`
}

// Run prints the LSN that a moment means; the first line is the LSN alone.
func (l *lsnCmd) Run(ctx context.Context, c *cli) error {
	cluster, err := c.cluster("")
	if err != nil {
		return err
	}
	rows, err := cluster.LSNAt(ctx, l.At)
	if err != nil {
		return err
	}
	if rows.Values[0]["complete"] == "f" {
		fmt.Fprintln(os.Stderr, "NOTICE:  no later commit is known: commits of this time may still come")
	}
	if l.Output != "table" {
		return rows.Write(os.Stdout, l.Output)
	}
	_, err = fmt.Println(rows.Values[0]["lsn"])
	rows.Columns = rows.Columns[1 : len(rows.Columns)-1]
	if err == nil {
		err = rows.WriteFields(os.Stdout)
	}
	return err
}

type windowCmd struct {
	Output string `short:"o" help:"table, json or jsonl." enum:"table,json,jsonl" default:"table"`
}

// Run prints the range that can be restored.
func (w *windowCmd) Run(ctx context.Context, c *cli) error {
	cluster, err := c.cluster("")
	if err != nil {
		return err
	}
	rows, err := cluster.Window(ctx)
	switch {
	case err != nil:
		return err
	case w.Output == "table":
		return rows.WriteFields(os.Stdout)
	}
	return rows.Write(os.Stdout, w.Output)
}

type findCmd struct {
	What    string `arg:"" enum:"drop,truncate,restore-point" help:"drop, truncate or restore-point."`
	Pattern string `arg:"" optional:"" help:"Name, with * and ?; with a full stop it is compared with schema.name."`
	Kinds   string `help:"relkinds to list, as in pg_class, and d for databases; by default all but indexes (i, I) and TOAST (t)." default:"rpmvfScd"`
	Limit   uint32 `help:"Rows at most." default:"100"`
	Output  string `short:"o" help:"table, json or jsonl." enum:"table,json,jsonl" default:"table"`
}

// Run prints what was found, newest first.
func (f *findCmd) Run(ctx context.Context, c *cli) error {
	cluster, err := c.cluster("")
	if err != nil {
		return err
	}
	rows, err := cluster.Find(ctx, operator.FindOptions{What: f.What, Pattern: f.Pattern, Kinds: f.Kinds, Limit: f.Limit})
	if err != nil {
		return err
	}
	return rows.Write(os.Stdout, f.Output)
}
