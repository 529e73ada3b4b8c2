// Command safekeeper keeps WAL durably for a quorum and gives it back.
package main

import (
	"context"
	"os"

	"github.com/walhaven/walhaven/internal/config"
	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/safekeeper"
)

func main() {
	var c safekeeper.Config
	parsed := config.MustParse(config.Options{
		Program: "safekeeper", Version: daemon.Version(),
		Description: "Keeps the WAL of PostgreSQL timelines durably, as one member of a quorum, and serves what is committed.",
	}, &c)
	os.Exit(daemon.Main("safekeeper", os.Stderr, func(ctx context.Context) error {
		return safekeeper.Program(ctx, c, settings(parsed))
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
