package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/walhaven/walhaven/bench"
	"github.com/walhaven/walhaven/internal/procstat"
	"github.com/walhaven/walhaven/wal"
)

// kept is what layers take when all but a small window has been collected, in bytes.
type kept struct {
	layers, before float64
	base           float64 // the databases' files
	window         float64 // WAL since the oldest moment that can be read
}

const (
	keptWindow = 10 * time.Second
	restFor    = 10 * time.Second
	restCPU    = time.Second // of which the pageserver takes less when it does nothing
)

// space restarts the pageserver with a small window and lets it collect what lies
// before, until it rests.
func (w *world) space(ctx context.Context) (k kept, err error) {
	bench.Say(fmt.Sprintf("collecting all but %s", keptWindow))
	if err := w.settle(ctx); err != nil {
		return k, err
	}
	history, err := w.end(ctx)
	if err != nil {
		return k, err
	}
	if err := w.flushed(ctx, history); err != nil {
		return k, err
	}
	m, err := w.metrics(ctx)
	if err != nil {
		return k, err
	}
	k.before = m[prefix+"timeline_layer_bytes"]
	if err := w.stop(ctx); err != nil {
		return k, err
	}
	if err := w.start(ctx, "WALHAVEN_PAGESERVER_RESTORE_WINDOW="+keptWindow.String()); err != nil {
		return k, err
	}
	if m, err = w.rest(ctx, history); err != nil {
		return k, err
	}
	k.layers = m[prefix+"timeline_layer_bytes"]
	k.window = float64(m.lsn("applied_lsn_bytes") - m.lsn("oldest_page_lsn_bytes"))
	size, err := w.primary.QueryValue(ctx, "SELECT sum(pg_database_size(oid)) FROM pg_database")
	if err != nil {
		return k, err
	}
	if k.base, err = strconv.ParseFloat(size, 64); err != nil {
		return k, err
	}
	bench.Say(fmt.Sprintf("layers %.1f MB, %.1f before; databases %.1f MB, window's WAL %.1f MB", k.layers/1e6, k.before/1e6, k.base/1e6, k.window/1e6))
	return k, nil
}

// rest waits until the window has left history behind and the pageserver merges
// nothing any more. The window ends with the newest commit: there are some.
func (w *world) rest(ctx context.Context, history wal.LSN) (m samples, err error) {
	var since time.Time // when the look began at whose end it may rest
	var merged float64
	var cpu time.Duration
	err = poll(ctx, "the pageserver to rest", func() (bool, error) {
		if err := w.primary.Exec(ctx, "UPDATE pgbench_branches SET bbalance = bbalance WHERE bid = 1"); err != nil {
			return false, err
		}
		if m, err = w.metrics(ctx); err != nil {
			return false, err
		}
		now, took := m[prefix+"store_compaction_written_bytes_total"], time.Since(since)
		used, err := procstat.CPU(w.cluster.PID(daemon))
		switch {
		case err != nil:
			return false, err
		case since.IsZero(), m.lsn("oldest_page_lsn_bytes") < history, now != merged, took >= restFor && used-cpu >= restCPU:
			since, merged, cpu = time.Now(), now, used
			return false, nil
		}
		return took >= restFor, nil
	})
	return m, err
}
