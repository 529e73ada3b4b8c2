package pagestore

import (
	"context"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// ScanOptions bound a scan.
type ScanOptions struct {
	// KeysOnly leaves Value empty: only which keys exist is wanted.
	KeysOnly bool
}

// Scan calls f, in key order, with each key of r that exists at lsn and what the
// store holds of it, as Get would. v is reused for the next key. f ends the scan
// by returning false, or an error, which Scan returns.
func (t *Timeline) Scan(ctx context.Context, r KeyRange, lsn wal.LSN, o ScanOptions, f func(key Key, v *Value) (bool, error)) error {
	if err := t.scan(ctx, r, lsn, o, f); err != nil {
		return fmt.Errorf("scan keys %s at %s in timeline %s: %w", r, lsn, t.id, err)
	}
	return nil
}

func (t *Timeline) scan(ctx context.Context, r KeyRange, lsn wal.LSN, o ScanOptions, f func(key Key, v *Value) (bool, error)) (err error) {
	levels, err := t.levels(lsn, true)
	if err != nil {
		return err
	}
	defer levels.release()
	c, err := levels.cursor(ctx, r)
	if err != nil {
		return err
	}
	defer func() {
		if e := c.close(); err == nil {
			err = e
		}
	}()
	s := scanner{levels: levels, keysOnly: o.KeysOnly}
	ok, err := c.advance()
	for ok && err == nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if ok, err = s.value(c); err != nil {
			break
		}
		if s.found {
			s.v.finish()
			more, err := f(s.key, &s.v)
			if err != nil || !more {
				return err
			}
		}
	}
	return err
}

// cursor walks all entries of r that the levels hold, newer ones than those to
// read included.
func (ls levels) cursor(ctx context.Context, r KeyRange) (*merged, error) {
	var cursors []cursor
	for _, l := range ls {
		for _, mem := range l.m.mems {
			if mem.from < l.lsn {
				cursors = append(cursors, capped(mem.cursor(r), l.lsn))
			}
		}
		for _, run := range l.m.runs {
			if run.info.From < l.lsn {
				cursors = append(cursors, capped(run.cursor(ctx, r), l.lsn))
			}
		}
	}
	return newMerged(cursors)
}

// cappedCursor leaves out what is newer than lsn.
type cappedCursor struct {
	cursor
	lsn wal.LSN
}

func capped(c cursor, lsn wal.LSN) cursor { return &cappedCursor{cursor: c, lsn: lsn} }

func (c *cappedCursor) advance() (bool, error) {
	for {
		ok, err := c.cursor.advance()
		if !ok || err != nil || c.item().lsn <= c.lsn {
			return ok, err
		}
	}
}

// runCursor walks the layers of a run one after the other.
type runCursor struct {
	ctx    context.Context //nolint:containedctx // A cursor lives for one call.
	r      KeyRange
	layers []*layer
	open   *layerCursor
}

func (r *run) cursor(ctx context.Context, kr KeyRange) *runCursor {
	return &runCursor{ctx: ctx, r: kr, layers: r.within(kr)}
}

func (c *runCursor) advance() (ok bool, err error) {
	for {
		if c.open == nil {
			if len(c.layers) == 0 {
				return false, nil
			}
			if c.open, err = c.layers[0].cursor(c.ctx, c.r); err != nil {
				return false, err
			}
			c.layers = c.layers[1:]
		}
		if ok, err = c.open.advance(); ok || err != nil {
			return ok, err
		}
		if err := c.close(); err != nil {
			return false, err
		}
	}
}

func (c *runCursor) item() *item { return &c.open.row.it }

func (c *runCursor) close() error {
	if c.open == nil {
		return nil
	}
	err := c.open.close()
	c.open = nil
	return err
}

// scanner makes values of the entries that a cursor gives.
type scanner struct {
	levels   levels
	keysOnly bool
	key      Key
	v        Value
	found    bool
}

// value consumes the entries of the cursor's key; ok says that another key
// follows.
func (s *scanner) value(c *merged) (ok bool, err error) {
	s.key, s.found = c.item().key, false
	s.v.reset()
	var hidden wal.LSN
	for _, l := range s.levels {
		if hidden = l.m.hides(s.key, l.lsn); hidden != 0 {
			break // Drops of ancestors are older.
		}
	}
	enough := false
	for {
		it := c.item()
		if it.key != s.key {
			return true, nil
		}
		switch {
		case enough || it.lsn < hidden:
			enough = true
		case s.keysOnly:
			s.found, enough = it.kind != Tombstone, true
		default:
			enough = s.v.add(it.lsn, it.kind, it.value())
			s.found = s.v.Found()
		}
		if ok, err = c.advance(); !ok || err != nil {
			return false, err
		}
	}
}
