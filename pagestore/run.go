package pagestore

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
)

// Run flushes and compacts all timelines in the background until ctx ends; it
// returns nil when both goroutines are gone. Failures are logged, counted and
// tried again; a fenced timeline is left alone.
func (s *Store) Run(ctx context.Context) error {
	var g errgroup.Group
	flushEvery := max(s.o.FlushInterval/4, time.Millisecond)
	g.Go(func() error {
		s.background(ctx, "flush", s.flushWake, flushEvery, (*Timeline).flushStale)
		return nil
	})
	g.Go(func() error {
		s.background(ctx, "compact", s.mergeWake, time.Minute, (*Timeline).compactAll)
		return nil
	})
	return g.Wait()
}

// background does work on every timeline whenever woken, and at intervals.
func (s *Store) background(ctx context.Context, operation string, woken <-chan struct{}, every time.Duration, work func(*Timeline, context.Context) error) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		for _, t := range s.Timelines() {
			if t.Err() != nil {
				continue
			}
			err := work(t, ctx)
			if err == nil || ctx.Err() != nil || errors.Is(err, ErrClosed) {
				continue
			}
			s.o.Metrics.failures.WithLabelValues(operation).Inc()
			s.o.Logger.Error("background work on a timeline failed", slog.String("operation", operation), slog.Any("timeline", t.id), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-woken:
		case <-ticker.C:
		}
	}
}

// compactAll compacts until nothing is worth it.
func (t *Timeline) compactAll(ctx context.Context) error {
	for {
		done, err := t.CompactIfWorthwhile(ctx)
		if err != nil || !done {
			return err
		}
	}
}
