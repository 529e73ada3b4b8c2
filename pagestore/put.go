package pagestore

import (
	"context"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/internal/monotonic"
	"github.com/walhaven/walhaven/wal"
)

// Put adds a batch to the in-memory layer. It is readable when Put returns, and
// durable once FlushedLSN has reached its LSN. When memory is full, Put waits
// for a flush, or flushes itself; ctx ends the wait. On error nothing of the
// batch is readable.
func (t *Timeline) Put(ctx context.Context, b Batch) error {
	open := wal.LSN(t.open.Load())
	values, err := b.validate(t.LastLSN(), open, &t.s.o)
	if err != nil {
		return fmt.Errorf("put into timeline %s: %w", t.id, err)
	}
	if b.More && open == 0 {
		// A layer of parts holds nothing else.
		if err := t.Flush(ctx); err != nil {
			return fmt.Errorf("put into timeline %s: %w", t.id, err)
		}
	}
	if err := t.makeRoom(ctx); err != nil {
		return fmt.Errorf("put into timeline %s: %w", t.id, err)
	}
	t.putMu.Lock()
	defer t.putMu.Unlock()
	m := t.current.Load()
	if m == nil {
		return ErrClosed
	}
	mem := m.mems[0] // Only a holder of putMu changes which one this is.
	size := b.memory(values)
	if err := mem.put(&b, size); err != nil {
		t.condemn(err)
		return fmt.Errorf("put into timeline %s: %w", t.id, err)
	}
	if b.More {
		t.open.Store(uint64(b.LSN))
	} else {
		t.open.Store(0)
		t.last.Store(uint64(b.LSN))
	}
	t.s.account(size)
	t.s.o.Metrics.put.Add(float64(values))
	if b.More || len(mem.long) == 0 {
		return nil
	}
	if err := t.coverLong(ctx, mem); err != nil {
		t.condemn(err)
		return fmt.Errorf("put into timeline %s: %w", t.id, err)
	}
	return nil
}

// makeRoom freezes a full in-memory layer and waits while too many are frozen.
func (t *Timeline) makeRoom(ctx context.Context) error {
	if err := t.Err(); err != nil {
		return err
	}
	if t.s.full() {
		t.s.wakeFlush() // Others have their share, too.
		if err := t.flushAll(ctx); err != nil {
			return err
		}
	}
	for {
		frozen, err := t.freezeFull()
		if err != nil {
			return err
		}
		if frozen == 0 {
			return nil
		}
		t.s.wakeFlush()
		if frozen <= t.s.o.MaxFrozen {
			return nil
		}
		start := time.Now()
		_, err = t.flushOldest(ctx)
		t.s.o.Metrics.putWait.Observe(time.Since(start).Seconds())
		if err != nil {
			return err
		}
	}
}

// flushAll flushes everything of the timeline that is in memory only, unless that
// is little.
func (t *Timeline) flushAll(ctx context.Context) error {
	t.putMu.Lock()
	if m := t.current.Load(); m != nil && m.mems[0].bytes() >= t.s.o.MemLayerSize/8 {
		t.freeze()
	}
	t.putMu.Unlock()
	for {
		if flushed, err := t.flushOldest(ctx); err != nil || !flushed {
			return err
		}
	}
}

// freezeFull freezes the in-memory layer if it is full and another one may be
// begun; it returns how many are frozen, counting a full one that may not.
func (t *Timeline) freezeFull() (frozen int, err error) {
	t.putMu.Lock()
	defer t.putMu.Unlock()
	m := t.current.Load()
	if m == nil {
		return 0, ErrClosed
	}
	frozen = len(m.mems) - 1
	if m.mems[0].bytes() < t.s.o.MemLayerSize {
		return min(frozen, t.s.o.MaxFrozen), nil
	}
	if frozen < t.s.o.MaxFrozen {
		if now := t.s.o.Now(); now.Sub(m.mems[0].since) < hurry {
			t.hurried.Store(monotonic.At(now))
		}
		t.freeze()
	}
	return frozen + 1, nil
}

// freeze begins a new in-memory layer. The caller holds putMu.
func (t *Timeline) freeze() {
	fresh := t.s.mems.layer(t.LastLSN(), t.s.o.Now())
	t.current.Load().mems[0].part = t.open.Load() != 0
	t.replace(func(m *layerMap) { m.mems = append([]*memLayer{fresh}, m.mems...) })
}
