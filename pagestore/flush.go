package pagestore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/invariant"
)

// Flush makes everything that has been put durable: FlushedLSN reaches what
// LastLSN was when the call began.
func (t *Timeline) Flush(ctx context.Context) error {
	target := t.LastLSN()
	if err := t.Err(); err != nil {
		return fmt.Errorf("flush timeline %s: %w", t.id, err)
	}
	t.putMu.Lock()
	m := t.current.Load()
	if m == nil {
		t.putMu.Unlock()
		return ErrClosed
	}
	if m.mems[0].from < target {
		t.freeze()
	}
	t.putMu.Unlock()
	for t.FlushedLSN() < target {
		if _, err := t.flushOldest(ctx); err != nil {
			return fmt.Errorf("flush timeline %s: %w", t.id, err)
		}
	}
	invariant.Point(pointFlushDone)
	return nil
}

// flushOldest writes the oldest frozen layer, if there is one, as a run. Layer
// files are fsynced, then their names, then the index names them: only then
// does FlushedLSN move.
func (t *Timeline) flushOldest(ctx context.Context) (flushed bool, err error) {
	if err := t.flushing.lock(ctx); err != nil {
		return false, err
	}
	defer t.flushing.unlock()
	m := t.acquire()
	if m == nil {
		return false, ErrClosed
	}
	defer t.release(m)
	if len(m.mems) < 2 {
		return false, nil
	}
	start := time.Now()
	mem := m.mems[len(m.mems)-1]
	info, err := t.writeRun(ctx, mem, m.retention())
	if err != nil {
		t.discard(info.Layers)
		return false, err
	}
	err = t.publish(func(x *index) error {
		if !mem.part {
			x.Flushed = mem.to
		}
		if len(info.Layers)+len(info.Drops) > 0 {
			x.Runs = append([]runInfo{info}, x.Runs...)
		}
		return nil
	}, func(*index) {
		t.replace(func(m *layerMap) {
			m.mems = m.mems[:len(m.mems)-1]
			if len(info.Layers)+len(info.Drops) > 0 {
				m.runs = append([]*run{t.newRun(info)}, m.runs...)
			}
		})
	})
	if err != nil {
		t.discard(info.Layers)
		return false, err
	}
	t.s.account(-mem.bytes())
	t.s.o.Metrics.flushed.Add(float64(info.size()))
	t.s.o.Metrics.flush.Observe(time.Since(start).Seconds())
	t.s.wakeCompact()
	return true, nil
}

// writeRun writes the entries of a frozen layer into files, in parallel, and
// makes them durable. On error info names the files that were finished.
func (t *Timeline) writeRun(ctx context.Context, mem *memLayer, keep retention) (runInfo, error) {
	info := runInfo{From: mem.from, To: mem.to, Drops: mem.drops.all}
	keys := mem.keys()
	if len(keys) == 0 {
		return info, nil
	}
	share := max((len(keys)+t.s.o.FlushWriters-1)/t.s.o.FlushWriters, minFlushKeys)
	parts := slices.Collect(slices.Chunk(keys, share))
	layers := make([][]layerInfo, len(parts))
	drops := newDropTree(info.Drops)
	ends := newLifetimes(keep, &info, info.To, &drops)
	partial := make([]*lifetimes, len(parts))
	form := t.flushForm()
	g, ctx := errgroup.WithContext(ctx)
	for i, part := range parts {
		partial[i] = newLifetimes(keep, &info, info.To, &drops)
		g.Go(func() (err error) {
			layers[i], err = t.writeLayers(ctx, newMemCursor(mem, part), rollingWriter{t: t, form: form, ends: partial[i]})
			return err
		})
	}
	err := g.Wait()
	info.Layers = slices.Concat(layers...)
	if err != nil {
		return info, fmt.Errorf("write layers: %w", err)
	}
	for _, p := range partial {
		ends.take(p)
	}
	info.Ends = ends.endings(info.size())
	if err := t.s.disk.syncFolder(t.dir); err != nil {
		return info, fmt.Errorf("make names of layers durable: %w", err)
	}
	return info, nil
}

// discard removes layers that no index will name, so that retries on a full disk
// do not fill it further. When the index is in doubt it may name them: then they
// stay, and the next Open decides.
func (t *Timeline) discard(layers []layerInfo) {
	if t.Err() != nil {
		return
	}
	for i := range layers {
		_ = t.s.disk.remove(t.s.disk.PathJoin(t.dir, layerName(&layers[i])), pointLayerRemove)
	}
}

// minFlushKeys is how many keys are worth a file of their own.
const minFlushKeys = 256

// writeLayers writes what c gives into layer files of about LayerSize.
func (t *Timeline) writeLayers(ctx context.Context, c cursor, w rollingWriter) ([]layerInfo, error) {
	defer w.abort()
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		ok, err := c.advance()
		if err != nil {
			return nil, err
		}
		if !ok {
			return w.finish()
		}
		if err := w.add(c.item()); err != nil {
			return nil, err
		}
	}
}

// rollingWriter writes layer files one after the other, never splitting a key.
type rollingWriter struct {
	t       *Timeline
	form    layerForm
	ends    *lifetimes
	current *layerWriter
	done    []layerInfo
	last    Key
}

func (w *rollingWriter) add(it *item) (err error) {
	if w.current != nil && it.key != w.last && w.current.size() >= uint64(w.t.s.o.LayerSize) {
		if err := w.close(); err != nil {
			return err
		}
	}
	if w.current == nil {
		if w.current, err = w.t.newLayerWriter(w.form); err != nil {
			return err
		}
	}
	w.last = it.key
	w.ends.add(it)
	return w.current.add(it)
}

func (w *rollingWriter) close() error {
	current := w.current
	w.current = nil
	info, err := current.finish()
	if err != nil {
		return err
	}
	w.done = append(w.done, info)
	return nil
}

func (w *rollingWriter) finish() ([]layerInfo, error) {
	if w.current != nil {
		if err := w.close(); err != nil {
			return nil, err
		}
	}
	done := w.done
	w.done = nil
	return done, nil
}

// abort throws away what finish has not handed out.
func (w *rollingWriter) abort() {
	if w.current != nil {
		w.current.abort()
		w.current = nil
	}
	w.t.discard(w.done)
}

// flushStale flushes whatever is frozen, and what has been in memory only for
// FlushInterval.
func (t *Timeline) flushStale(ctx context.Context) error {
	t.putMu.Lock()
	m := t.current.Load()
	if m == nil {
		t.putMu.Unlock()
		return nil
	}
	active := m.mems[0]
	if t.LastLSN() > active.from && (t.s.full() || t.s.o.Now().Sub(active.since) >= t.s.o.FlushInterval) {
		t.freeze()
	}
	t.putMu.Unlock()
	for {
		flushed, err := t.flushOldest(ctx)
		if err != nil || !flushed {
			return err
		}
	}
}
