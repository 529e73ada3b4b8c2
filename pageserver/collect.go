package pageserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/ingest"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
)

// Pauses between two looks for what lies before the window.
const (
	shortestCollect = time.Second
	longestCollect  = time.Minute
)

// collect removes, on every timeline and until ctx is done, what nobody can ask
// for any more: page versions before the window, and WAL that no page and no
// restore needs.
func (r *timelines) collect(ctx context.Context, window time.Duration) {
	every := longestCollect
	if window > 0 {
		every = min(max(window/60, shortestCollect), longestCollect)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, t := range r.list() {
			if err := t.collect(ctx, window, time.Now()); err != nil && ctx.Err() == nil {
				t.logger.Error("remove what lies before the window", "err", err)
			}
		}
	}
}

// collect moves the window of a timeline up to now and removes what lies before.
func (t *timeline) collect(ctx context.Context, window time.Duration, now time.Time) error {
	p, err := t.pages.past()
	if err != nil {
		return nil //nolint:nilerr // Without pages all WAL stays: it may be what they will be made of.
	}
	if err := p.moveWindow(ctx, window, now); err != nil {
		return err
	}
	horizon, err := p.walHorizon(ctx, t.pages.baseStart())
	if err != nil {
		return err
	}
	n, err := t.store.RemoveBefore(horizon)
	if n > 0 {
		t.logger.Info("WAL that no page needs was removed", "segments", n, "oldest_lsn", t.store.Oldest())
	}
	return err
}

// moveWindow publishes the cutoff, and forgets pins that have expired. A window
// of 0 keeps everything. Two clocks must agree that a version is old: this
// machine's, and that of the commits.
func (p past) moveWindow(ctx context.Context, window time.Duration, now time.Time) error {
	_, newest, found, err := ingest.CommitsUpTo(ctx, p.tl, p.tl.LastLSN())
	if err != nil {
		return err
	}
	cutoff := p.tl.CutoffLSN()
	if found && window > 0 {
		a, err := ingest.LSNAt(ctx, p.tl, min(newest, wal.TimestampOf(now))-wal.Timestamp(window.Microseconds()))
		if err != nil {
			return err
		}
		cutoff = max(cutoff, a.Before.LSN)
	}
	_, err = p.tl.Collect(cutoff)
	if errors.Is(err, pagestore.ErrClosed) {
		return nil
	}
	return err
}

// walHorizon is the position below which no WAL is needed: everything below is
// in durable layers, and a server that starts from pages of the window's first
// moment, or of a pin, begins redo at the checkpoint before it.
func (p past) walHorizon(ctx context.Context, baseStart wal.LSN) (wal.LSN, error) {
	horizon := min(p.tl.FlushedLSN(), p.reader.Floor())
	points := []wal.LSN{horizon}
	for _, pin := range p.tl.Pins() {
		points = append(points, pin.LSN)
	}
	for _, at := range points {
		redo := baseStart
		switch e, found, err := ingest.LastEvent(ctx, p.tl, ingest.EventCheckpoint, at); {
		case err != nil:
			return 0, fmt.Errorf("find the checkpoint before %s: %w", at, err)
		case found:
			redo = wal.LSN(e.Numbers[0])
		}
		horizon = min(horizon, redo)
	}
	return horizon, nil
}

// baseStart is where redo of the base begins.
func (p *pages) baseStart() wal.LSN {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.base.Start
}
