package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/wal"
)

type memberForceCmd struct {
	AcceptLossAfter string        `placeholder:"LSN" help:"Where the loss begins that is accepted. Without it what is at risk is printed, and nothing changes."`
	PGData          string        `name:"pgdata" placeholder:"DIR" help:"Data directory of the stopped primary, to list the transactions at risk." type:"path"`
	Yes             bool          `help:"Do not ask."`
	Dir             string        `help:"Folder of the cluster." type:"path"`
	Timeout         time.Duration `help:"How long to try. Afterwards the same command goes on where this one was." default:"10m"`
	Output          string        `short:"o" help:"table or json." enum:"table,json" default:"table"`
}

// Run prints what is at risk, asks, and installs the survivors as the members.
func (m *memberForceCmd) Run(ctx context.Context, c *cli) error {
	cluster, err := c.cluster(m.Dir)
	if err != nil {
		return err
	}
	if m.AcceptLossAfter == "" {
		loss, err := cluster.QuorumLoss(ctx, m.PGData)
		if err == nil {
			err = m.print(loss)
		}
		if err != nil {
			return refusal(err)
		}
		return daemon.WithExit(daemon.ExitUsage, fmt.Errorf("nothing was changed: say that you accept this with --accept-loss-after %s", loss.KeptLSN))
	}
	after, err := wal.ParseLSN(m.AcceptLossAfter)
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, fmt.Errorf("--accept-loss-after: %w", err))
	}
	members, err := cluster.ForceQuorum(ctx, operator.ForceQuorum{
		AcceptLossAfter: after, PGData: m.PGData, Timeout: m.Timeout, Confirm: m.confirm,
		Progress: func(text string) { fmt.Fprintln(os.Stderr, text) },
	})
	if err != nil {
		return refusal(err)
	}
	return printMembers(members, m.Output, nil)
}

func (m *memberForceCmd) print(l *operator.QuorumLoss) error {
	if m.Output == "json" {
		return l.WriteJSON(os.Stdout)
	}
	return l.WriteTable(os.Stdout)
}

// confirm asks whether to go on.
func (m *memberForceCmd) confirm(l *operator.QuorumLoss) error {
	if err := m.print(l); err != nil || m.Yes {
		return err
	}
	fmt.Fprint(os.Stderr, "Go on without the members that are gone? Type yes: ")
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return errors.Join(errors.New("nothing was changed; answer yes, or give --yes"), err)
	}
	return nil
}

// refusal gives what must not be forced its exit status.
func refusal(err error) error {
	if errors.Is(err, operator.ErrQuorumThere) || errors.Is(err, operator.ErrLossNotAccepted) {
		return daemon.WithExit(daemon.ExitRefused, err)
	}
	return err
}
