// Command walhaven is the operator's tool: it parses the command line and
// prints; the work is in package operator.
package main

import (
	"context"
	"errors"
	"os"

	"github.com/alecthomas/kong"

	"github.com/walhaven/walhaven/internal/daemon"
)

// cli is the command line, a field a subcommand.
type cli struct {
	Cluster string `help:"Cluster file or its folder (default: WALHAVEN_CLUSTER, ./walhaven-data, /etc/walhaven)." type:"path"`

	Up         upCmd         `cmd:"" help:"Start PostgreSQL with its safekeepers, pageserver and walproposer on this machine."`
	Down       downCmd       `cmd:"" help:"Stop what up has started."`
	Attach     attachCmd     `cmd:"" help:"Make commits of a running PostgreSQL wait for a quorum of safekeepers, without a restart."`
	Detach     detachCmd     `cmd:"" help:"Let the server work as before attach; needs no safekeeper."`
	Failover   failoverCmd   `cmd:"" help:"Make a standby of the safekeepers the primary after the old one was lost; no acknowledged commit is."`
	Switchover switchoverCmd `cmd:"" help:"The same, with the old primary shut down in order first."`
	Orphans    orphansCmd    `cmd:"" help:"List what a stopped server has in its WAL that no quorum has."`
	Import     importCmd     `cmd:"" help:"Give the pageservers a base backup to begin from; afterwards they serve pages at any LSN."`
	Status     statusCmd     `cmd:"" help:"Say whether commits are safe, and how each part is."`
	Check      checkCmd      `cmd:"" help:"Check each part; exits with 1 when one fails, or as a Nagios plugin."`
	Member     memberCmd     `cmd:"" help:"List the safekeepers that keep the timeline, add one, remove one, replace one."`
	Wait       waitCmd       `cmd:"" help:"Wait until WAL up to an LSN is durable on a majority, and print the receipt."`
	LSN        lsnCmd        `cmd:"" name:"lsn" help:"Print the LSN that a time, restore point or transaction means."`
	Window     windowCmd     `cmd:"" help:"Print from which moment up to which pages are kept."`
	Find       findCmd       `cmd:"" help:"Find drops, truncations and restore points, with the LSN to go back to."`
	RPO        rpoCmd        `cmd:"" name:"rpo" help:"List the intervals in which PostgreSQL did not wait for the quorum."`
	Token      tokenCmd      `cmd:"" help:"Print a login that opens one connection to a safekeeper or pageserver."`
	Waldump    waldumpCmd    `cmd:"" help:"Print WAL records with their block references."`
	Wal        walCmd        `cmd:"" help:"Fetch WAL back from the safekeepers."`
}

func main() {
	os.Exit(daemon.Main("walhaven", os.Stderr, func(ctx context.Context) error { return run(ctx, os.Args[1:]) }))
}

func run(ctx context.Context, args []string) error {
	var c cli
	parser, err := kong.New(&c,
		kong.Name("walhaven"),
		kong.Description("The operator's tool of walhaven: PostgreSQL's WAL, durable on a quorum."),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&c),
	)
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	if err != nil {
		code := daemon.ExitUsage
		if restores(args) {
			code = exitNoQuorum // a typo must not look like the end of WAL
		}
		return daemon.WithExit(code, daemon.Explain(err, "", "Try: walhaven --help"))
	}
	return command.Run()
}

// errNoted ends the program with a code when what there is to say has been
// printed already.
var errNoted = errors.New("see above")
