package main

import (
	"context"
	"errors"
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
}

// Exit codes of restore_command: 1 tells PostgreSQL that WAL ends before this
// file, above 125 that recovery must stop, since nothing is known.
const (
	exitPastEnd  = 1
	exitNoQuorum = 126
)

// Run fetches the file.
func (g *walGetCmd) Run(ctx context.Context, c *cli) error {
	cluster, err := c.cluster("")
	if err != nil {
		return daemon.WithExit(exitNoQuorum, err)
	}
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	err = cluster.WALGet(ctx, g.Name, g.Path)
	switch {
	case errors.Is(err, operator.ErrPastEnd):
		return daemon.WithExit(exitPastEnd, err)
	case err != nil:
		return daemon.WithExit(exitNoQuorum, err)
	}
	return nil
}
