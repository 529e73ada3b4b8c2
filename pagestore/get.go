package pagestore

import (
	"context"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// Get reads into v what the store holds of key at lsn: the newest image at or
// below it and the deltas after that. ErrNotFound when the key does not exist
// there, ErrNotYet above LastLSN, ErrCollected where nothing is kept any more,
// a CorruptionError for damage. On error v holds nothing.
func (t *Timeline) Get(ctx context.Context, key Key, lsn wal.LSN, v *Value) error {
	return t.GetSince(ctx, key, lsn, 0, v)
}

// GetSince is Get for who has the value as it was at since, at or below lsn, 0 for
// none: unless v is whole, it holds only what came after that, which may be nothing.
func (t *Timeline) GetSince(ctx context.Context, key Key, lsn, since wal.LSN, v *Value) error {
	v.reset()
	err := t.get(ctx, key, lsn, since, v)
	t.s.o.Metrics.getLayers.Observe(float64(v.Layers))
	if err != nil {
		v.reset()
		return fmt.Errorf("get key %s at %s from timeline %s: %w", key, lsn, t.id, err)
	}
	v.finish()
	t.s.o.Metrics.getDeltas.Observe(float64(len(v.Deltas)))
	return nil
}

func (t *Timeline) get(ctx context.Context, key Key, lsn, since wal.LSN, v *Value) error {
	levels, err := t.levels(lsn, true)
	if err != nil {
		return err
	}
	defer levels.release()
	// Of what nobody may read any more it cannot be told whether the key went meanwhile.
	if l := &levels[0]; since < l.t.start || !l.m.readable(since) {
		since = 0
	}
	if err := levels.get(ctx, key, since, v); err != nil {
		return err
	}
	if v.whole = v.whole || since == 0; v.whole && !v.Found() {
		return ErrNotFound
	}
	return nil
}

// level is one timeline of an answer: a snapshot, and the LSN from which it is
// read downwards.
type level struct {
	t   *Timeline
	m   *layerMap
	lsn wal.LSN
}

// levels is a timeline and its ancestors, as far as they matter at an LSN.
type levels []level

// levels takes the snapshots for a read at lsn. Compaction reads where its own
// entries lie, whatever may be read by others: unchecked.
func (t *Timeline) levels(lsn wal.LSN, checked bool) (levels, error) {
	if last := t.LastLSN(); lsn > last {
		return nil, fmt.Errorf("%w: the last one is %s", ErrNotYet, last)
	}
	var ls levels
	first := true
	for ; t != nil; t = t.parent {
		if t.parent != nil && lsn <= t.branchLSN && first {
			continue // All of it is the parent's.
		}
		m := t.acquire()
		if m == nil {
			ls.release()
			return nil, ErrClosed
		}
		ls = append(ls, level{t: t, m: m, lsn: lsn})
		// Snapshot and cutoff are one: what is readable in it stays in its files.
		// Below its branch LSN a branch reads what the parent's pin keeps.
		if checked && first && (lsn < t.start || !m.readable(lsn)) {
			ls.release()
			return nil, fmt.Errorf("%w: the oldest one is %s", ErrCollected, max(m.cutoff, t.start))
		}
		first = false
		lsn = min(lsn, t.branchLSN)
	}
	return ls, nil
}

func (ls levels) release() {
	for _, l := range ls {
		l.t.release(l.m)
	}
}

// get collects the entries of key above since, newest first, until there is a base.
func (ls levels) get(ctx context.Context, key Key, since wal.LSN, v *Value) error {
	for _, l := range ls {
		enough, err := l.get(ctx, key, since, v)
		if enough || err != nil {
			return err
		}
	}
	return nil
}

func (l *level) get(ctx context.Context, key Key, since wal.LSN, v *Value) (enough bool, err error) {
	hidden := l.m.hides(key, l.lsn)
	dropped := hidden > since
	switch {
	case dropped:
		v.whole = true
	case since > 0:
		hidden = since + 1
	}
	for _, mem := range l.m.mems {
		if mem.from < l.lsn && mem.get(key, l.lsn, hidden, v) {
			return true, nil
		}
	}
	for _, r := range l.m.runs {
		if r.info.From >= l.lsn {
			continue
		}
		if r.info.To < hidden {
			break // All that follows is hidden.
		}
		layer := r.find(key)
		if layer == nil {
			continue
		}
		if enough, err := layer.get(ctx, key, l.lsn, hidden, v); enough || err != nil {
			return enough, err
		}
	}
	return hidden != 0, nil
}
