package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/compute"
)

// system is one way to run PostgreSQL with its WAL elsewhere.
type system interface {
	// start brings everything up and returns when commits wait for what they
	// are to wait for.
	start(ctx context.Context) error
	stop(ctx context.Context) error
	server() *compute.Server
	// receivers are the processes outside PostgreSQL that take its WAL, with
	// their children.
	receivers() []int
	// remove stops what is left and deletes it.
	remove()
}

// settings are those of every primary; the rest is stock.
var settings = map[string]string{
	"max_connections":       "120",
	"shared_buffers":        "1GB",
	"wal_level":             "replica",
	"max_wal_size":          "16GB",
	"checkpoint_timeout":    "30min",
	"autovacuum":            "off",
	"max_wal_senders":       "16",
	"max_replication_slots": "16",
	"wal_keep_size":         "64MB",
	"wal_recycle":           "off", // each segment is really made
}

func newSystem(ctx context.Context, p plan, name, dir string) (system, error) {
	if strings.HasPrefix(name, ours) {
		return newWalhaven(ctx, p, name, dir)
	}
	kinds := map[string]peers{
		"A":    {},
		"B":    {n: 1, names: "FIRST 1 (r1)"},
		"C":    {n: 3, names: "ANY 2 (r1, r2, r3)"},
		"D-on": {n: 3, names: "ANY 2 (r1, r2, r3)", standbys: true},
	}
	s, ok := kinds[name]
	if !ok {
		return nil, fmt.Errorf("there is no system %q: A, B, C, D-on, walhaven, walhaven-early, walhaven-in-process, walhaven-in-process-early, walhaven-disposable", name)
	}
	s.dir = dir
	var err error
	s.primary, err = compute.Init(ctx, compute.InitOptions{
		Install: p.Install, DataDir: filepath.Join(dir, "primary", "data"), Settings: settings, DataChecksums: true,
	})
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, p); err != nil {
		s.remove()
		return nil, err
	}
	return &s, nil
}

// fill makes the tables of the workloads.
func fill(ctx context.Context, s *compute.Server, scale int) error {
	if _, err := s.Pgbench(ctx, "-i", "-q", "-s", strconv.Itoa(scale)); err != nil {
		return fmt.Errorf("pgbench -i: %w", err)
	}
	if err := s.Exec(ctx, "CREATE TABLE tiny (client int, v bigint, pad text)"); err != nil {
		return err
	}
	return s.Exec(ctx, "VACUUM ANALYZE")
}

// synchronous makes commits wait for names and returns when n of them are
// synchronous and have caught up.
func synchronous(ctx context.Context, s *compute.Server, names string, n int) error {
	if err := s.Set(ctx, map[string]string{"synchronous_standby_names": names}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	const rows = `SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')
		AND flush_lsn >= pg_current_wal_flush_lsn()`
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if got, err := s.QueryValue(ctx, rows); err != nil {
			return err
		} else if got == strconv.Itoa(n) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to be synchronous: %w", strings.TrimSpace(names), ctx.Err())
		}
	}
}
