package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/walhaven/walhaven/compute"
)

// tiny writes about 150 bytes of WAL a commit.
const tiny = "\\set v random(1, 1000000000)\nINSERT INTO tiny VALUES (:client_id, :v, repeat('x', 20));\n"

// cell is one measurement. Latencies are in milliseconds, cpu in microseconds a
// transaction, switches a transaction.
type cell struct {
	system, round  int
	workload       string
	clients        int
	tps            float64
	mean, p50, p99 float64
	cpu, switches  float64
	parts          map[string]usage // of the whole measurement
	commits        int
	memory         map[string]float64 // of the bulk load alone
}

// cell runs pgbench once.
func (p plan) cell(ctx context.Context, s system, workload string, clients int) (c cell, err error) {
	dir, err := os.MkdirTemp(p.Dir, "log-")
	if err != nil {
		return c, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // All goes with p.Dir.
	account, err := compute.RunAs()
	if err != nil {
		return c, err
	}
	script := filepath.Join(dir, "tiny.sql")
	err = errors.Join(os.WriteFile(script, []byte(tiny), 0o644), os.Chmod(dir, 0o755), account.Own(dir)) //nolint:gosec // For PostgreSQL's account.
	if err != nil {
		return c, err
	}
	args := []string{
		"-n", "-M", "prepared", "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2)),
		"-T", seconds(p.seconds), "-l", "--log-prefix=" + filepath.Join(dir, "tx"),
	}
	if workload == "tiny" {
		args = append(args, "-f", script)
	}
	before, err := usageOf(s)
	if err != nil {
		return c, err
	}
	if _, err := s.server().Pgbench(ctx, args...); err != nil {
		return c, err
	}
	after, err := usageOf(s)
	if err != nil {
		return c, err
	}
	latencies, err := readLatencies(dir)
	if err != nil {
		return c, err
	}
	c = cell{workload: workload, clients: clients}
	c.summarise(latencies)
	c.tps = float64(len(latencies)) / p.seconds.Seconds()
	c.commits, c.parts = len(latencies), map[string]usage{}
	for name, u := range after {
		c.parts[name] = u.minus(before[name])
	}
	all := sum(c.parts)
	c.cpu, c.switches = c.each(all.cpu.Seconds()*1e6), c.each(float64(all.switches))
	return c, nil
}

// each is an amount per commit.
func (c cell) each(amount float64) float64 { return amount / float64(c.commits) }

// readLatencies returns all that pgbench logged, in microseconds, rising.
func readLatencies(dir string) (all []int64, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "tx*"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
			fields := bytes.Fields(lines.Bytes()) // client_id transaction_no time ...
			if len(fields) < 3 {
				return nil, fmt.Errorf("pgbench logged %q", lines.Text())
			}
			us, err := strconv.ParseInt(string(fields[2]), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("pgbench logged %q: %w", lines.Text(), err)
			}
			all = append(all, us)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("pgbench logged no transaction")
	}
	slices.Sort(all)
	return all, nil
}

func (c *cell) summarise(rising []int64) {
	var sum int64
	for _, us := range rising {
		sum += us
	}
	at := func(q float64) float64 {
		return float64(rising[min(len(rising)-1, int(q*float64(len(rising))))]) / 1000
	}
	c.mean, c.p50, c.p99 = float64(sum)/float64(len(rising))/1000, at(0.5), at(0.99)
}
