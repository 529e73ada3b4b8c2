package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/protocol/pushwal"
)

type memberCmd struct {
	List    memberListCmd    `cmd:"" help:"Say who the members are and how far each is."`
	Add     memberAddCmd     `cmd:"" help:"Make a safekeeper a member, once it has all WAL. PostgreSQL does not notice."`
	Remove  memberRemoveCmd  `cmd:"" help:"Let a member go; its data directory may be deleted afterwards."`
	Replace memberReplaceCmd `cmd:"" help:"Put a safekeeper in the place of a member, or of the data directory that the member has lost."`
	Abort   memberAbortCmd   `cmd:"" help:"Take a change back that was begun and has not come through; stop the command that began it first."`
	Force   memberForceCmd   `cmd:"" name:"force-quorum" help:"Go on with the members that are left when a majority is gone for good. Says first what is lost by it."`
}

// memberFlags are those of all that change the membership.
type memberFlags struct {
	Dir     string        `help:"Folder of the cluster." type:"path"`
	Timeout time.Duration `help:"How long to try. Afterwards the same command goes on where this one was." default:"10m"`
	Output  string        `short:"o" help:"table or json." enum:"table,json" default:"table"`
}

type memberListCmd struct {
	Dir    string `help:"Folder of the cluster." type:"path"`
	Output string `short:"o" help:"table or json." enum:"table,json" default:"table"`
}

type memberAddCmd struct {
	Address string `arg:"" help:"host:port of the safekeeper."`
	memberFlags
}

type memberRemoveCmd struct {
	ID uint64 `arg:"" name:"id" help:"Node ID, see member list."`
	memberFlags
}

type memberAbortCmd struct {
	memberFlags
}

type memberReplaceCmd struct {
	ID      uint64 `arg:"" name:"id" help:"Node ID of the member that goes, see member list."`
	Address string `arg:"" help:"host:port of the safekeeper that comes; that of the member itself if its data directory was lost."`
	memberFlags
}

// Run prints the membership.
func (m *memberListCmd) Run(ctx context.Context, c *cli) error {
	cluster, err := c.cluster(m.Dir)
	if err != nil {
		return err
	}
	members, err := cluster.ListMembers(ctx)
	return printMembers(members, m.Output, err)
}

// Run adds a member.
func (m *memberAddCmd) Run(ctx context.Context, c *cli) error {
	return m.change(ctx, c, operator.MemberChange{Add: m.Address})
}

// Run removes a member.
func (m *memberRemoveCmd) Run(ctx context.Context, c *cli) error {
	return m.change(ctx, c, operator.MemberChange{Remove: pushwal.NodeID(m.ID)})
}

// Run takes a change back.
func (m *memberAbortCmd) Run(ctx context.Context, c *cli) error {
	return m.apply(c, operator.MemberChange{}, func(cluster *operator.Cluster, o operator.MemberChange) (*operator.Members, error) {
		return cluster.AbortChange(ctx, o)
	})
}

// Run replaces a member.
func (m *memberReplaceCmd) Run(ctx context.Context, c *cli) error {
	return m.change(ctx, c, operator.MemberChange{Add: m.Address, Remove: pushwal.NodeID(m.ID)})
}

func (f *memberFlags) change(ctx context.Context, c *cli, o operator.MemberChange) error {
	return f.apply(c, o, func(cluster *operator.Cluster, o operator.MemberChange) (*operator.Members, error) {
		return cluster.ChangeMembers(ctx, o)
	})
}

func (f *memberFlags) apply(c *cli, o operator.MemberChange, do func(*operator.Cluster, operator.MemberChange) (*operator.Members, error)) error {
	cluster, err := c.cluster(f.Dir)
	if err != nil {
		return err
	}
	o.Timeout = f.Timeout
	o.Progress = func(text string) { fmt.Fprintln(os.Stderr, text) }
	members, err := do(cluster, o)
	return printMembers(members, f.Output, err)
}

func printMembers(m *operator.Members, output string, err error) error {
	switch {
	case errors.Is(err, operator.ErrNoQuorum):
		return daemon.WithExit(daemon.ExitQuorumLost, err)
	case err != nil:
		return err
	case output == "json":
		return json.NewEncoder(os.Stdout).Encode(m)
	}
	return m.WriteTable(os.Stdout)
}
