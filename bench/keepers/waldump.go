package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/walhaven/walhaven/bench"
	"github.com/walhaven/walhaven/wal"
)

// waldump measures decoding with checksums.
func (p plan) waldump(ctx context.Context) (err error) {
	s, err := p.serverWithWAL(ctx, filepath.Join(p.Dir, "waldump", "data"))
	if err != nil {
		return err
	}
	folder := filepath.Join(s.DataDir(), "pg_wal")
	text, err := s.QueryValue(ctx, "SELECT pg_current_wal_flush_lsn()")
	if err != nil {
		return errors.Join(err, s.Kill())
	}
	if err := s.Kill(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Remove()) }()
	at, err := wal.ParseLSN(text)
	if err != nil {
		return err
	}
	end := wal.DefaultSegmentSize.SegmentStart(at)
	from := end - wal.LSN(p.bytes)
	ours := []string{filepath.Join(p.Programs, "walhaven"), "waldump", folder, "--stats=rmgr", "--start=" + from.String(), "--end=" + end.String()}
	theirs, err := p.Install.Command(ctx, "pg_waldump", "--path="+folder, "--stats", "--start="+from.String(), "--end="+end.String())
	if err != nil {
		return err
	}
	var rate sides
	for round := range p.rounds {
		a, err := timed(exec.CommandContext(ctx, ours[0], ours[1:]...))
		if err != nil {
			return fmt.Errorf("walhaven waldump: %w", err)
		}
		again := exec.CommandContext(ctx, theirs.Path, theirs.Args[1:]...)
		again.SysProcAttr, again.Env = theirs.SysProcAttr, slices.Clone(theirs.Env)
		b, err := timed(again)
		if err != nil {
			return fmt.Errorf("pg_waldump: %w", err)
		}
		mb := float64(end-from) / 1e6
		bench.Say(fmt.Sprintf("waldump, round %d: %.0f and %.0f MB/s", round+1, mb/a, mb/b))
		rate.add(mb/a, mb/b)
	}
	fmt.Printf("\n### Statistics of %d MiB of WAL, MB/s, %d rounds\n\n| walhaven waldump | pg_waldump | ratio |\n|---|---|---|\n| %s |\n", p.bytes>>20, p.rounds, &rate)
	return nil
}

// timed runs a command and returns how long it took, in seconds.
func timed(cmd *exec.Cmd) (float64, error) {
	cmd.Stdout = io.Discard
	began := time.Now()
	err := cmd.Run()
	return time.Since(began).Seconds(), err
}
