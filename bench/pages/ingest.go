package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/walhaven/walhaven/bench"
	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/internal/conninfo"
	"github.com/walhaven/walhaven/internal/procstat"
	"github.com/walhaven/walhaven/wal"
)

// load is a workload that writes WAL.
type load struct {
	name  string
	redo  bool                                      // its records are also what redo is measured with
	write func(ctx context.Context, w *world) error // some MiB of it
}

var loads = []load{
	{name: "pgbench", redo: true, write: func(ctx context.Context, w *world) error {
		_, err := w.primary.Pgbench(ctx, "-n", "-M", "prepared", "-c", "16", "-j", "2", "-t", "1000")
		return err
	}},
	{name: "bulk", write: func(ctx context.Context, w *world) error {
		w.tables++
		table := "bulk" + strconv.Itoa(w.tables)
		err := w.primary.Exec(ctx, "CREATE TABLE "+table+" (i int, v text)")
		if err == nil {
			err = w.primary.Exec(ctx, "INSERT INTO "+table+" SELECT i, repeat(md5(i::text), 3) FROM generate_series(1, 100000) i")
		}
		if err == nil {
			err = w.primary.Exec(ctx, "CREATE INDEX ON "+table+" (i)")
		}
		return err
	}},
}

// ingested is a workload's WAL and how fast it was taken.
type ingested struct {
	name     string
	from, to wal.LSN
	turns    []turn
}

// turn is what both did in a round: the standby before the pageserver, and again
// after it.
type turn struct{ standby, pageserver, again taken }

// taken is how a system took WAL.
type taken struct {
	rate  float64 // bytes a second
	cpu   float64 // seconds of the process, or of all of the server's, for each byte
	space float64 // layer bytes for each byte of WAL
	// written is what was written of layers for each byte of WAL, merged ones too.
	written float64
}

// progress is how far a system was when, and what it had used.
type progress struct {
	at  time.Time
	lsn wal.LSN
	cpu time.Duration
}

// watch asks a system for its position until it has reached the end of WAL.
func watch(ctx context.Context, what string, pid int, end wal.LSN, position func() (lsn wal.LSN, ready bool, err error)) (seen []progress, err error) {
	err = poll(ctx, what, func() (bool, error) {
		lsn, ready, err := position()
		if err != nil || !ready {
			return false, err
		}
		cpu, err := procstat.CPU(pid)
		seen = append(seen, progress{time.Now(), lsn, cpu})
		return lsn >= end, err
	})
	return seen, err
}

// takenOf is the speed and price from the moment of the first progress to the
// end: not those of starting.
func takenOf(seen []progress) (t taken) {
	first := seen[0]
	for _, p := range seen {
		if p.lsn != first.lsn {
			break
		}
		first = p
	}
	last := seen[len(seen)-1]
	bytes := float64(last.lsn - first.lsn)
	return taken{rate: bytes / last.at.Sub(first.at).Seconds(), cpu: (last.cpu - first.cpu).Seconds() / bytes}
}

// ingest writes a workload's WAL while neither system takes it, then lets them
// take it in turns.
func (w *world) ingest(ctx context.Context, l load) (in ingested, err error) {
	in.name = l.name
	bench.Say("bringing the pageserver to rest: " + l.name)
	if _, err := w.rest(ctx, 0); err != nil {
		return in, err
	}
	base := filepath.Join(w.Dir, l.name+"-base")
	if err := w.primary.BaseBackup(ctx, base, "-X", "none", "-c", "fast"); err != nil {
		return in, err
	}
	if err := w.settle(ctx); err != nil {
		return in, err
	}
	if err := w.stop(ctx); err != nil {
		return in, err
	}
	pages := filepath.Join(w.Dir, l.name+"-pages")
	if err := replace(ctx, w.cluster.Pageservers[0].DataDir, pages); err != nil {
		return in, err
	}
	if in.from, in.to, err = w.write(ctx, l, w.wal); err != nil {
		return in, err
	}
	for round := range w.rounds {
		var t turn
		if t.standby, err = w.standby(ctx, base, in); err != nil {
			return in, fmt.Errorf("standby: %w", err)
		}
		if round > 0 {
			if err := w.stop(ctx); err != nil {
				return in, err
			}
		}
		if t.pageserver, err = w.pageserver(ctx, pages, in); err != nil {
			return in, fmt.Errorf("pageserver: %w", err)
		}
		if t.again, err = w.standby(ctx, base, in); err != nil {
			return in, fmt.Errorf("standby: %w", err)
		}
		bench.Say(fmt.Sprintf("round %d, %s, %d MiB: standby %.0f and %.0f MB/s, %.2f and %.2f ns/B of CPU; pageserver %.0f MB/s, %.2f ns/B, %.2f bytes of layers for each, %.2f written",
			round+1, l.name, (in.to-in.from)>>20, t.standby.rate/1e6, t.again.rate/1e6, t.standby.cpu*1e9, t.again.cpu*1e9,
			t.pageserver.rate/1e6, t.pageserver.cpu*1e9, t.pageserver.space, t.pageserver.written))
		in.turns = append(in.turns, t)
	}
	return in, nil
}

// write has the primary write so many bytes of a workload's WAL.
func (w *world) write(ctx context.Context, l load, bytes int64) (from, to wal.LSN, err error) {
	bench.Say("writing WAL: " + l.name)
	if from, err = w.end(ctx); err != nil {
		return 0, 0, err
	}
	for to < from+wal.LSN(bytes) { //nolint:gosec // Above 0.
		if err := l.write(ctx, w); err != nil {
			return 0, 0, err
		}
		if to, err = w.end(ctx); err != nil {
			return 0, 0, err
		}
	}
	return from, to, nil
}

// standby lets a streaming standby replay the WAL.
func (w *world) standby(ctx context.Context, base string, in ingested) (t taken, err error) {
	dir := filepath.Join(w.Dir, "standby")
	if err := replace(ctx, base, dir); err != nil {
		return t, err
	}
	s, err := compute.Open(compute.OpenOptions{
		Install: w.Install, DataDir: dir, Password: w.password, NewPort: true,
		Settings: map[string]string{
			"primary_conninfo":          w.primary.Conninfo() + " password=" + conninfo.Quote(w.password),
			"synchronous_standby_names": "", "hot_standby": "on",
		},
	})
	if err != nil {
		return t, err
	}
	defer func() {
		if kill := s.Kill(); err == nil {
			err = kill
		}
	}()
	if err := s.WriteFile("standby.signal", nil); err != nil {
		return t, err
	}
	if err := s.Start(ctx, compute.StartOptions{}); err != nil {
		return t, err
	}
	conn, err := s.Connect(ctx, "postgres")
	if err != nil {
		return t, err
	}
	defer conn.Close(ctx) //nolint:errcheck // It was only read.
	seen, err := watch(ctx, "the standby to replay all WAL", s.PID(), in.to, func() (lsn wal.LSN, ready bool, err error) {
		rows := conn.ExecParams(ctx, "SELECT pg_last_wal_replay_lsn()", nil, nil, nil, nil).Read()
		if rows.Err != nil || len(rows.Rows) != 1 {
			return 0, false, rows.Err
		}
		lsn, err = wal.ParseLSN(string(rows.Rows[0][0]))
		return lsn, true, err
	})
	if err != nil {
		return t, err
	}
	return takenOf(seen), nil
}

// pageserver lets the pageserver take the WAL. What its layers do not hold when
// all is applied does not count for its speed.
func (w *world) pageserver(ctx context.Context, pages string, in ingested) (t taken, err error) {
	if err := replace(ctx, pages, w.cluster.Pageservers[0].DataDir); err != nil {
		return t, err
	}
	if err := w.start(ctx); err != nil {
		return t, err
	}
	var first, last samples
	seen, err := watch(ctx, "the pageserver to take all WAL", w.cluster.PID(daemon), in.to, func() (wal.LSN, bool, error) {
		m, err := w.metrics(ctx)
		if err != nil || m.lsn("applied_lsn_bytes") == 0 {
			return 0, false, nil // It is starting.
		}
		if first == nil {
			first = m
		}
		last = m
		return m.lsn("applied_lsn_bytes"), true, nil
	})
	if err != nil {
		return t, err
	}
	// Durable is what the flushed position moved.
	durable := float64(last.lsn("pages_flushed_lsn_bytes")-first.lsn("pages_flushed_lsn_bytes")) / float64(in.to-in.from)
	t = takenOf(seen)
	t.rate *= min(durable, 1)
	if err := w.flushed(ctx, in.to); err != nil {
		return t, err
	}
	if last, err = w.metrics(ctx); err != nil {
		return t, err
	}
	grown := func(name string) float64 { return (last[prefix+name] - first[prefix+name]) / float64(in.to-in.from) }
	t.space = grown("timeline_layer_bytes")
	t.written = grown("store_flushed_bytes_total") + grown("store_compaction_written_bytes_total")
	return t, nil
}
