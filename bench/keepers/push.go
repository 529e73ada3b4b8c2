package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/wal"
)

// push measures how fast one safekeeper takes WAL.
func (p plan) push(ctx context.Context) error {
	b, first, end := makeWAL(p.bytes)
	var rate sides
	var perGB []float64
	for round := range p.rounds {
		ours, used, err := p.pushOnce(ctx, b.Bytes(), b.Start(), first, end)
		if err != nil {
			return err
		}
		theirs, err := p.writeAndSync(b.Bytes())
		if err != nil {
			return err
		}
		say(fmt.Sprintf("push, round %d: safekeeper %.0f MB/s, %.2f CPU-seconds a GB; disk %.0f MB/s", round+1, ours, used, theirs))
		rate.add(ours, theirs)
		perGB = append(perGB, used)
	}
	fmt.Printf("\n### START_WAL_PUSH, %d MiB, %d rounds\n\n| safekeeper MB/s | 16 MB with an fdatasync each, MB/s | ratio | CPU-seconds a GB |\n|---|---|---|---|\n| %s | %.2f |\n",
		p.bytes>>20, p.rounds, &rate, median(perGB))
	return nil
}

// pushOnce returns MB a second until all was durable, and CPU-seconds a GB.
func (p plan) pushOnce(ctx context.Context, content []byte, from, first, end wal.LSN) (rate, perGB float64, err error) {
	k, err := p.startKeeper(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer k.stop()
	w, err := k.foundAndPropose(ctx, 1, content, from, first)
	if err != nil {
		return 0, 0, err
	}
	defer w.close()
	before, err := cpu(k.pid())
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := errors.Join(w.append(end), w.await(end)); err != nil {
		return 0, 0, err
	}
	seconds := time.Since(began).Seconds()
	after, err := cpu(k.pid())
	return float64(end-from) / 1e6 / seconds, (after - before) / (float64(end-from) / 1e9), err
}

// foundAndPropose makes timeline n and opens a session to write to it.
func (k *keeper) foundAndPropose(ctx context.Context, n int, content []byte, from, first wal.LSN) (*proposer, error) {
	id, err := k.found(ctx, n, first)
	if err != nil {
		return nil, err
	}
	return k.propose(ctx, id, content, from, first)
}

// writeAndSync writes content into new files of a segment each, every one with
// one fdatasync, and returns MB a second.
func (p plan) writeAndSync(content []byte) (rate float64, err error) {
	dir, err := os.MkdirTemp(p.dir, "disk-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // All goes with p.dir.
	began := time.Now()
	for i := 0; i < len(content); i += int(wal.DefaultSegmentSize) {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return 0, err
		}
		_, err = f.Write(content[i:min(len(content), i+int(wal.DefaultSegmentSize))])
		if err = errors.Join(err, unix.Fdatasync(int(f.Fd())), f.Close()); err != nil {
			return 0, err
		}
	}
	return float64(len(content)) / 1e6 / time.Since(began).Seconds(), nil
}
