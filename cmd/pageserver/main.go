// Command pageserver takes committed WAL from safekeepers and keeps it.
package main

import (
	"context"
	"os"

	"github.com/walhaven/walhaven/internal/config"
	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/pageserver"
	"github.com/walhaven/walhaven/protocol/admin"
)

func main() {
	var c pageserver.Config
	parsed := config.MustParse(config.Options{
		Program: "pageserver", Version: daemon.Version(),
		Description: "Takes the committed WAL of PostgreSQL timelines from safekeepers, keeps it and serves it.",
	}, &c)
	os.Exit(daemon.Main("pageserver", os.Stderr, func(ctx context.Context) error {
		return pageserver.Program(ctx, c, settings(parsed))
	}))
}

// settings is the configuration as SHOW ALL lists it.
func settings(parsed *config.Parsed) []admin.Setting {
	var list []admin.Setting
	for _, row := range parsed.Rows() {
		list = append(list, admin.Setting{Name: row.Name, Value: row.Value, Help: row.Description})
	}
	return list
}
