package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/walhaven/walhaven/bench"
	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/wal"
)

// receivers is how many pg_receivewal read at a time.
const receivers = 8

// receive measures what serving hot WAL costs.
func (p plan) receive(ctx context.Context) error {
	var rate sides
	for round := range p.rounds {
		ours, err := p.receiveFromKeeper(ctx)
		if err != nil {
			return fmt.Errorf("from a safekeeper: %w", err)
		}
		theirs, err := p.receiveFromServer(ctx)
		if err != nil {
			return fmt.Errorf("from PostgreSQL: %w", err)
		}
		bench.Say(fmt.Sprintf("receive, round %d: safekeeper %.0f, PostgreSQL %.0f MB a CPU-second", round+1, ours, theirs))
		rate.add(ours, theirs)
	}
	fmt.Printf("\n### %d pg_receivewal of hot WAL, MB a CPU-second of the server, %d rounds\n\n| safekeeper | PostgreSQL | ratio |\n|---|---|---|\n| %s |\n", receivers, p.rounds, &rate)
	return nil
}

func (p plan) receiveFromKeeper(ctx context.Context) (float64, error) {
	k, err := p.startKeeper(ctx)
	if err != nil {
		return 0, err
	}
	defer k.stop()
	b, first, end := makeWAL(p.bytes)
	w, err := k.foundAndPropose(ctx, 1, b.Bytes(), b.Start(), first)
	if err != nil {
		return 0, err
	}
	defer w.close()
	if err := errors.Join(w.append(end), w.await(end), w.commit()); err != nil {
		return 0, err
	}
	return p.receiveAll(ctx, k.conninfo(), k.pid(), wal.DefaultSegmentSize.SegmentStart(first), wal.DefaultSegmentSize.SegmentStart(end))
}

func (p plan) receiveFromServer(ctx context.Context) (rate float64, err error) {
	dir, err := os.MkdirTemp(p.Dir, "server-")
	if err != nil {
		return 0, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's account has to enter it.
		return 0, err
	}
	s, err := p.serverWithWAL(ctx, filepath.Join(dir, "data"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Kill(), s.Remove()) }()
	text, err := s.QueryValue(ctx, "SELECT pg_current_wal_flush_lsn()")
	if err != nil {
		return 0, err
	}
	at, err := wal.ParseLSN(text)
	if err != nil {
		return 0, err
	}
	end := wal.DefaultSegmentSize.SegmentStart(at)
	return p.receiveAll(ctx, s.Conninfo(), s.PID(), end-wal.LSN(p.bytes), end)
}

// serverWithWAL starts a server that has written as much as is to be read.
func (p plan) serverWithWAL(ctx context.Context, dataDir string) (*compute.Server, error) {
	s, err := compute.Init(ctx, compute.InitOptions{Install: p.Install, DataDir: dataDir, NoSync: true, Settings: map[string]string{
		"wal_level": "replica", "max_wal_senders": "16", "max_wal_size": "16GB", "wal_keep_size": fmt.Sprintf("%dMB", 2*p.bytes>>20), "autovacuum": "off",
	}})
	if err != nil {
		return nil, err
	}
	if err := s.Start(ctx, compute.StartOptions{}); err != nil {
		return nil, err
	}
	// About 1 kB of WAL a row.
	err = s.Exec(ctx, fmt.Sprintf("CREATE TABLE t AS SELECT 0 AS i, '' AS pad; INSERT INTO t SELECT i, repeat('x', 950) FROM generate_series(1, %d) i; SELECT pg_switch_wal()", p.bytes/1000*11/10))
	if err != nil {
		return nil, errors.Join(err, s.Kill())
	}
	return s, nil
}

// receiveAll has all receivers read WAL of a server between two segments' starts,
// and returns MB a CPU-second of the process and its children.
func (p plan) receiveAll(ctx context.Context, conninfo string, pid int, from, upto wal.LSN) (float64, error) {
	before, err := cpu(pid)
	if err != nil {
		return 0, err
	}
	var group sync.WaitGroup
	failed := make([]error, receivers)
	for i := range receivers {
		group.Go(func() { failed[i] = p.receiveOne(ctx, conninfo, from, upto) })
	}
	group.Wait()
	if err := errors.Join(failed...); err != nil {
		return 0, err
	}
	after, err := cpu(pid)
	if err != nil {
		return 0, err
	}
	return receivers * float64(upto-from) / 1e6 / (after - before), nil
}

// receiveOne runs pg_receivewal in a folder that makes it begin at a segment: it
// goes on behind the last one that is there.
func (p plan) receiveOne(ctx context.Context, conninfo string, from, upto wal.LSN) error {
	dir, err := os.MkdirTemp(p.Dir, "received-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // All goes with p.Dir.
	account, err := compute.RunAs()
	if err != nil {
		return err
	}
	before := filepath.Join(dir, wal.DefaultSegmentSize.FileName(1, wal.DefaultSegmentSize.SegmentNo(from)-1))
	err = errors.Join(os.WriteFile(before, nil, 0o644), os.Truncate(before, int64(wal.DefaultSegmentSize)), account.Own(before), account.Own(dir)) //nolint:gosec // For PostgreSQL's account.
	if err != nil {
		return err
	}
	cmd, err := p.Install.Command(ctx, "pg_receivewal", "-d", conninfo, "-D", dir, "--no-loop", "--no-sync", "--verbose", "--endpos="+upto.String())
	if err != nil {
		return err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("pg_receivewal: %w: %s", err, out)
	}
	want := int((upto-from)/wal.LSN(wal.DefaultSegmentSize)) + 1
	files, err := os.ReadDir(dir)
	if err == nil && len(files) < want {
		err = fmt.Errorf("it left %d segments, want %d: %s", len(files), want, out)
	}
	if err != nil {
		return fmt.Errorf("pg_receivewal: %w", err)
	}
	return nil
}
