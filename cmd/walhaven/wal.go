package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/operator"
)

type walCmd struct {
	Get walGetCmd `cmd:"" help:"Fetch one WAL file: restore_command = 'walhaven wal get %f %p'."`
}

type walGetCmd struct {
	Name    string        `arg:"" help:"Name of the file (%f)."`
	Path    string        `arg:"" help:"Where to put it (%p)." type:"path"`
	Timeout time.Duration `help:"How long to try while no quorum answers." default:"5m"`

	quorumFlags
}

// Exit codes of restore_command: 1 tells PostgreSQL that WAL ends before this
// file, above 125 that recovery must stop, since nothing is known.
const (
	exitPastEnd  = 1
	exitNoQuorum = 126
)

// restores says that the command line is a restore_command, to which PostgreSQL
// takes any exit code from 1 to 125 as "WAL ends here".
func restores(args []string) bool {
	i := slices.Index(args, "wal")
	return i >= 0 && slices.Contains(args[i:], "get")
}

// Run fetches the file.
func (g *walGetCmd) Run(ctx context.Context, c *cli) (err error) {
	// A panic elsewhere ends the process by SIGABRT, which stops recovery, and
	// not with exit code 2, which would end it.
	debug.SetTraceback("crash")
	defer func() {
		if p := recover(); p != nil {
			err = daemon.WithExit(exitNoQuorum, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	cluster, err := g.reach(ctx, c, "")
	if err != nil {
		return daemon.WithExit(exitNoQuorum, err)
	}
	err = cluster.WALGet(ctx, g.Name, g.Path)
	if errors.Is(err, operator.ErrPastEnd) {
		return daemon.WithExit(exitPastEnd, err)
	}
	return daemon.WithExit(exitNoQuorum, err)
}
