package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/internal/procstat"
	"github.com/walhaven/walhaven/wal"
)

// copyLoad is the name of the bulk load among the cells: MB of WAL a second in
// tps, CPU-seconds a GB in cpu.
const copyLoad = "copy"

// walARow is about how much WAL a row of the bulk load makes, in bytes.
const walARow = 320

// copyFile writes the rows of the bulk load, once.
func (p plan) copyFile() (path string, err error) {
	path = filepath.Join(p.Dir, "bulk.txt")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	pad := strings.Repeat("0123456789abcdef", 16)
	for i := range p.copy / walARow {
		if _, err := fmt.Fprintf(w, "%d\t%s\n", i, pad); err != nil {
			return "", errors.Join(err, f.Close())
		}
	}
	account, err := compute.RunAs()
	if err != nil {
		return "", errors.Join(err, f.Close())
	}
	return path, errors.Join(w.Flush(), f.Close(), account.Own(path))
}

// copyCell loads a table by one COPY and measures until it has committed.
func (p plan) copyCell(ctx context.Context, s system) (c cell, err error) {
	path, err := p.copyFile()
	if err != nil {
		return c, err
	}
	if err := s.server().Exec(ctx, "DROP TABLE IF EXISTS bulk; CREATE TABLE bulk (i bigint, pad text)"); err != nil {
		return c, err
	}
	if err := s.server().Exec(ctx, "CHECKPOINT"); err != nil {
		return c, err
	}
	from, err := position(ctx, s)
	if err != nil {
		return c, err
	}
	before, err := usageOf(s)
	if err != nil {
		return c, err
	}
	began := time.Now()
	if err := s.server().Exec(ctx, "COPY bulk FROM '"+path+"'"); err != nil {
		return c, err
	}
	took := time.Since(began).Seconds()
	after, err := usageOf(s)
	if err != nil {
		return c, err
	}
	upto, err := position(ctx, s)
	if err != nil {
		return c, err
	}
	c = cell{workload: copyLoad, clients: 1, tps: float64(upto-from) / 1e6 / took, parts: map[string]usage{}}
	for name, u := range after {
		c.parts[name] = u.minus(before[name])
	}
	c.cpu = sum(c.parts).cpu.Seconds() / (float64(upto-from) / 1e9)
	c.memory, err = memoryOf(s)
	return c, errors.Join(err, s.server().Exec(ctx, "DROP TABLE bulk"))
}

func position(ctx context.Context, s system) (wal.LSN, error) {
	text, err := s.server().QueryValue(ctx, "SELECT pg_current_wal_insert_lsn()")
	if err != nil {
		return 0, err
	}
	return wal.ParseLSN(text)
}

// memoryOf is what receivers have of their own, by what they are, in MiB; of a
// queue in shared memory each process counts its part (Pss).
func memoryOf(s system) (map[string]float64, error) {
	all, err := procstat.All()
	if err != nil {
		return nil, err
	}
	of := map[string]float64{}
	for pid, p := range all {
		for up := pid; up > 1; up = all[up].Parent {
			if !slices.Contains(s.receivers(), up) {
				continue
			}
			rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
			if err != nil {
				break // It has ended.
			}
			_, rest, _ := strings.Cut(string(rollup), "\nPss:")
			kib, err := strconv.ParseFloat(strings.Fields(rest + " ?")[0], 64)
			if err != nil {
				return nil, fmt.Errorf("/proc/%d/smaps_rollup: %w", pid, err)
			}
			name, _, _ := strings.Cut(nameOf(p), " ")
			of[name] += kib / 1024
			break
		}
	}
	return of, nil
}

// reportCopy prints the bulk load and what the receivers' memory came to.
func reportCopy(w io.Writer, p plan, cells []cell) {
	if p.copy == 0 {
		return
	}
	fmt.Fprintf(w, "\n### COPY, about %d MB of WAL\n\nMedians of %d rounds; memory is of all processes of a kind, after the load.\n\n", p.copy/1e6, p.rounds)
	fmt.Fprintln(w, "| system | MB/s | to C | CPU-seconds a GB | MiB |\n|---|---|---|---|---|")
	base := pick(cells, slices.Index(p.systems, "C"), copyLoad, 1)
	for i, name := range p.systems {
		of := pick(cells, i, copyLoad, 1)
		ratio := ""
		if len(base) > 0 {
			r := ratios(of, base, tps)
			ratio = fmt.Sprintf("%.2f (%s)", middle(r), span(r))
		}
		var used []string
		for kind, mib := range of[len(of)-1].memory {
			used = append(used, fmt.Sprintf("%s %.0f", kind, mib))
		}
		slices.Sort(used)
		fmt.Fprintf(w, "| %s | %.0f | %s | %.2f | %s |\n", name, median(of, tps), ratio, median(of, cpu), strings.Join(used, ", "))
	}
}
