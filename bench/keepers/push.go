package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/bench"
	"github.com/walhaven/walhaven/wal"
)

// push measures how fast one safekeeper takes WAL.
func (p plan) push(ctx context.Context) error {
	b, first, end := makeWAL(p.bytes)
	var files, fio sides
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
		line := fmt.Sprintf("push, round %d: safekeeper %.0f MB/s, %.2f CPU-seconds a GB; files %.0f MB/s", round+1, ours, used, theirs)
		files.add(ours, theirs)
		perGB = append(perGB, used)
		if p.fio != "" {
			if theirs, err = p.runFio(ctx); err != nil {
				return err
			}
			line += fmt.Sprintf(", fio %.0f MB/s", theirs)
			fio.add(ours, theirs)
		}
		bench.Say(line)
	}
	fmt.Printf("\n### START_WAL_PUSH, %d MiB, %d rounds\n\nCPU-seconds a GB: %.2f (goal: at most 1)\n\n", p.bytes>>20, p.rounds, median(perGB))
	fmt.Printf("| 16 MB with an fdatasync each, by | safekeeper MB/s | that MB/s | ratio | must | goal |\n|---|---|---|---|---|---|\n| new files | %s | | |\n", &files)
	if p.fio != "" {
		fmt.Printf("| fio | %s | 0.6 | 0.9 |\n", &fio)
	}
	return nil
}

// runFio writes as many bytes with fio and returns MB a second.
func (p plan) runFio(ctx context.Context) (rate float64, err error) {
	dir, err := os.MkdirTemp(p.Dir, "fio-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)                                                                                 //nolint:errcheck // All goes with p.Dir.
	out, err := exec.CommandContext(ctx, p.fio, "--name=wal", "--directory="+dir, "--rw=write", "--bs=16M", //nolint:gosec // What -fio names.
		fmt.Sprintf("--size=%d", p.bytes), "--fdatasync=1", "--ioengine=psync", "--output-format=json").Output()
	if err != nil {
		return 0, fmt.Errorf("run fio: %w", err)
	}
	return fioRate(out)
}

// fioRate is MB a second of the first job in what fio printed as JSON.
func fioRate(out []byte) (float64, error) {
	var printed struct {
		Jobs []struct {
			Write struct {
				Bytes   float64 `json:"io_bytes"`
				Runtime float64 `json:"runtime"` // ms
			} `json:"write"`
		} `json:"jobs"`
	}
	// Notes may stand in front.
	if err := json.Unmarshal(out[max(0, bytes.IndexByte(out, '{')):], &printed); err != nil {
		return 0, fmt.Errorf("read what fio printed: %w", err)
	}
	if len(printed.Jobs) == 0 || printed.Jobs[0].Write.Runtime <= 0 {
		return 0, errors.New("fio printed no job that wrote")
	}
	return printed.Jobs[0].Write.Bytes / 1e3 / printed.Jobs[0].Write.Runtime, nil
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
	dir, err := os.MkdirTemp(p.Dir, "disk-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // All goes with p.Dir.
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
