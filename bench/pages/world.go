package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/walhaven/walhaven/bench"
	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/internal/procstat"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/wal"
)

// patience bounds each wait for something that must happen.
const patience = 5 * time.Minute

// daemon is the pageserver's name in the cluster.
const daemon = "pageserver-1"

// world is a cluster with one safekeeper and one pageserver.
type world struct {
	plan
	cluster  *operator.Cluster
	primary  *compute.Server
	password string
	segments string // the primary's pg_wal
	most     int64  // memory that the pageserver took in rounds that are over
	tables   int    // that were loaded
}

// settings are those of the primary; the rest is stock. Nothing waits for a
// commit here.
var settings = map[string]string{
	"synchronous_commit": "off",
	"autovacuum":         "off",
	"wal_keep_size":      "64GB",
	"shared_buffers":     "256MB",
}

func newWorld(ctx context.Context, p plan) (_ *world, err error) {
	bench.Say("making a cluster")
	w := &world{plan: p}
	up := operator.UpOptions{
		Dir: filepath.Join(p.Dir, "cluster"), BinDir: p.Install.BinDir, Safekeepers: 1, Programs: p.Programs, Out: io.Discard,
	}
	if w.cluster, err = operator.Up(ctx, up); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.remove()
		}
	}()
	password, err := os.ReadFile(w.cluster.PasswordFile)
	if err != nil {
		return nil, err
	}
	w.password = strings.TrimSpace(string(password))
	w.segments = filepath.Join(w.cluster.Postgres.DataDir, "pg_wal")
	w.primary, err = compute.Open(compute.OpenOptions{Install: p.Install, DataDir: w.cluster.Postgres.DataDir, Password: w.password})
	if err != nil {
		return nil, err
	}
	if err := w.primary.Set(ctx, settings); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *world) remove() { _ = operator.Down(context.Background(), w.cluster.Dir(), true, io.Discard) }

// fill makes pgbench's tables, new ones, and some history, and the table of
// chains.
func (w *world) fill(ctx context.Context, scale, pages int) error {
	bench.Say(fmt.Sprintf("filling a database of scale %d", scale))
	if _, err := w.primary.Pgbench(ctx, "-i", "-q", "-s", strconv.Itoa(scale)); err != nil {
		return err
	}
	if _, err := w.primary.Pgbench(ctx, "-n", "-M", "prepared", "-c", "8", "-j", "2", "-t", strconv.Itoa(scale*50)); err != nil {
		return err
	}
	return w.chains(ctx, pages)
}

// chainLength is how many records follow the image of each page of chains.
const chainLength = 10

// chains makes a table whose pages each have a row, an image, and chainLength
// records behind it.
func (w *world) chains(ctx context.Context, pages int) error {
	statements := []string{
		"DROP TABLE IF EXISTS chains",
		"CREATE TABLE chains (i int, n int, pad text) WITH (fillfactor = 10, autovacuum_enabled = off)",
		fmt.Sprintf("INSERT INTO chains SELECT i, 0, repeat(md5(i::text), 14) FROM generate_series(1, %d) i", pages),
		"ALTER TABLE chains RESET (fillfactor)", // Pages that look full would be pruned at each turn.
		"CHECKPOINT",
	}
	for range chainLength + 1 { // The first one makes the image.
		statements = append(statements, "UPDATE chains SET n = n + 1")
	}
	for _, sql := range statements {
		if err := w.primary.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// end is where the primary's WAL ends.
func (w *world) end(ctx context.Context) (wal.LSN, error) {
	text, err := w.primary.QueryValue(ctx, "SELECT pg_current_wal_flush_lsn()")
	if err != nil {
		return 0, err
	}
	return wal.ParseLSN(text)
}

// settle brings everything that was written to the pageserver.
func (w *world) settle(ctx context.Context) error {
	if err := w.primary.Exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	target, err := w.end(ctx)
	if err != nil {
		return err
	}
	return poll(ctx, "the pageserver to have all WAL", func() (bool, error) {
		m, err := w.metrics(ctx)
		return err == nil && m.lsn("applied_lsn_bytes") >= target, nil
	})
}

// flushed waits until layers hold all WAL up to an LSN.
func (w *world) flushed(ctx context.Context, lsn wal.LSN) error {
	return poll(ctx, "layers to hold all WAL", func() (bool, error) {
		m, err := w.metrics(ctx)
		return err == nil && m.lsn("pages_flushed_lsn_bytes") >= lsn, nil
	})
}

// pollEvery is seldom enough for asking not to be what is measured.
const pollEvery = 250 * time.Millisecond

// poll asks until cond says yes.
func poll(ctx context.Context, what string, cond func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		done, err := cond()
		if done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
}

// start starts the pageserver, with settings NAME=VALUE beside the cluster's.
func (w *world) start(ctx context.Context, env ...string) error {
	return operator.StartDaemon(ctx, w.cluster.Dir(), daemon, operator.DaemonOptions{Programs: w.Programs, Env: env, Out: io.Discard})
}

// stop ends the pageserver in an orderly way.
func (w *world) stop(ctx context.Context) error {
	pid := w.cluster.PID(daemon)
	peak, err := w.peak()
	if err != nil {
		return err
	}
	w.most = peak
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", daemon, err)
	}
	return poll(ctx, "the pageserver to end", func() (bool, error) { return w.cluster.PID(daemon) == 0, nil })
}

// peak is the most memory that a pageserver took, in bytes.
func (w *world) peak() (int64, error) {
	peak, err := procstat.PeakMemory(w.cluster.PID(daemon))
	return max(peak, w.most), err
}

// samples are metrics by name, summed over labels.
type samples map[string]float64

const prefix = "walhaven_pageserver_"

func (s samples) lsn(name string) wal.LSN { return wal.LSN(s[prefix+name]) }

func (w *world) metrics(ctx context.Context) (samples, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.cluster.Pageservers[0].HTTP+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // Packing them is not what is measured.
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // It was only read.
	return parseMetrics(resp.Body)
}

func parseMetrics(r io.Reader) (samples, error) {
	s := samples{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
		name, _, _ := strings.Cut(line[:at], "{")
		s[name] += v
	}
	return s, lines.Err()
}

// replace makes to a copy of from.
func replace(ctx context.Context, from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", from, to).CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("copy %s: %s", from, out), err)
	}
	return nil
}
