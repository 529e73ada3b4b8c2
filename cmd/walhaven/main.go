// Command walhaven is the operator's tool: it parses the command line and
// prints; the work is in package operator.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the command line, a field a subcommand.
type cli struct {
	Cluster string `help:"Cluster file or its folder (default: WALHAVEN_CLUSTER, ./walhaven-data, /etc/walhaven)." type:"path"`

	Up      upCmd      `cmd:"" help:"Start PostgreSQL with its safekeepers, pageserver and walproposer on this machine."`
	Down    downCmd    `cmd:"" help:"Stop what up has started."`
	Status  statusCmd  `cmd:"" help:"Say whether commits are safe, and how each part is."`
	Check   checkCmd   `cmd:"" help:"Check each part; exits with 1 when one fails, or as a Nagios plugin."`
	Waldump waldumpCmd `cmd:"" help:"Print WAL records with their block references."`
	Wal     walCmd     `cmd:"" help:"Fetch WAL back from the safekeepers."`
}

// exitError carries an exit code other than 1.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var c cli
	parser, err := kong.New(&c,
		kong.Name("walhaven"),
		kong.Description("The operator's tool of walhaven: PostgreSQL's WAL, durable on a quorum."),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&c),
		kong.UsageOnError(),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR:  "+err.Error())
		return 2
	}
	command, err := parser.Parse(args)
	if err != nil {
		parser.Errorf("%s", err)
		return 2
	}
	if err := command.Run(); err != nil {
		return report(err)
	}
	return 0
}

// report prints an error and returns the exit code that it stands for.
func report(err error) int {
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.err != nil {
			fmt.Fprintln(os.Stderr, "ERROR:  "+exit.err.Error())
		}
		return exit.code
	}
	fmt.Fprintln(os.Stderr, "ERROR:  "+err.Error())
	return 1
}
