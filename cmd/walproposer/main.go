// Command walproposer stands beside a PostgreSQL server and makes its WAL
// durable on a quorum of safekeepers.
package main

import (
	"context"
	"os"
	"strings"

	"github.com/walhaven/walhaven/internal/config"
	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/walproposer"
)

func main() {
	if code, child := walproposer.ChildMain(); child {
		os.Exit(code)
	}
	var cfg walproposer.Config
	parsed := config.MustParse(config.Options{
		Program:     "walproposer",
		Description: "Makes the WAL of a PostgreSQL server durable on a quorum of safekeepers.",
		Version:     daemon.Version(),
	}, &cfg)
	command, _, _ := strings.Cut(parsed.Context.Command(), " ")
	os.Exit(daemon.Main("walproposer", os.Stderr, func(ctx context.Context) error {
		return cfg.Main(ctx, command, os.Stdout, os.Stderr)
	}))
}
