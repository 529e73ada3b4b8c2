package ingest

import (
	"context"
	"fmt"

	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
)

// TimeAnswer is what the index knows of a time.
type TimeAnswer struct {
	// After is the first commit, in the order of WAL, that is later than the time;
	// LSN 0 while there is none. Before is the last one before After, or of all:
	// no commit up to it is later than the time. LSN 0 when nothing is known of
	// any commit before.
	Before, After Commit
}

// LSNAt looks a time up, by the rule of recovery_target_time: recovery to it
// would end with the commit Before. Commits need not be in the order of their
// times: one that is not later than the time, but behind one that is, does not
// count.
//
// It reads a number of entries that grows with the logarithm of the WAL's length.
func LSNAt(ctx context.Context, tl *pagestore.Timeline, at wal.Timestamp) (a TimeAnswer, err error) {
	// The highest times rise from list to list: those of all lists up to lo are at
	// or before the time, that of the first one after hi is not.
	last := tl.LastLSN()
	lo, hi := wal.LSN(0), last
	for lo < hi {
		mid := lo + (hi-lo)/2
		e, found, err := first(ctx, tl, EventCommit, mid, last)
		switch {
		case err != nil:
			return a, fmt.Errorf("look a time up: %w", err)
		case found && e.Highest <= at:
			a.Before, lo = e.Commits[len(e.Commits)-1], e.LSN
		default:
			hi = mid
		}
	}
	e, _, err := first(ctx, tl, EventCommit, lo, last)
	if err != nil {
		return a, fmt.Errorf("look a time up: %w", err)
	}
	for _, c := range e.Commits {
		if c.Time > at {
			a.After = c
			return a, nil
		}
		a.Before = c
	}
	return a, nil
}

// lastList is the newest list of commits at or below an LSN.
func lastList(ctx context.Context, tl *pagestore.Timeline, upTo wal.LSN) (list Event, found bool, err error) {
	return LastEvent(ctx, tl, EventCommit, upTo)
}

// LastEvent is the newest event of a kind at or below an LSN. It reads a number
// of entries that grows with the logarithm of the WAL's length.
func LastEvent(ctx context.Context, tl *pagestore.Timeline, kind EventKind, upTo wal.LSN) (last Event, found bool, err error) {
	lo, hi := wal.LSN(0), upTo
	for lo < hi {
		mid := lo + (hi-lo)/2
		e, ok, err := first(ctx, tl, kind, mid, upTo)
		switch {
		case err != nil:
			return last, false, fmt.Errorf("find the last %s: %w", kind, err)
		case ok:
			last, found, lo = e, true, e.LSN
		default:
			hi = mid
		}
	}
	return last, found, nil
}

// CommitsUpTo returns the last commit at or below an LSN and the highest time of
// all up to it; found is false when none is known.
func CommitsUpTo(ctx context.Context, tl *pagestore.Timeline, lsn wal.LSN) (c Commit, highest wal.Timestamp, found bool, err error) {
	list, found, err := lastList(ctx, tl, lsn)
	if err != nil {
		return c, 0, false, err
	}
	if found {
		c, highest = list.Commits[len(list.Commits)-1], list.Highest
	}
	// The next list may begin below the LSN.
	next, _, err := first(ctx, tl, EventCommit, lsn, tl.LastLSN())
	if err != nil {
		return c, 0, false, fmt.Errorf("find the newest commit: %w", err)
	}
	for _, d := range next.Commits {
		if d.LSN > lsn {
			break
		}
		if c, found = d, true; c.Time > highest {
			highest = c.Time
		}
	}
	return c, highest, found, nil
}

// Window is what can be restored.
type Window struct {
	Oldest, Newest wal.LSN // pages can be read from and up to here
	// From is the earliest time whose state is certain to lie within: the highest
	// of the commits at or below Oldest, or the time of the first one above if none
	// is known below. First and Last are the commits at its ends; LSN 0 without one.
	From        wal.Timestamp
	First, Last Commit
}

// WindowOf returns the LSNs from which and up to which pages can be read, and
// the times of commits there. from is the LSN at which the timeline's base became
// consistent.
func WindowOf(ctx context.Context, tl *pagestore.Timeline, from wal.LSN) (w Window, err error) {
	w.Oldest, w.Newest = max(from, tl.CutoffLSN()), tl.LastLSN()
	_, highest, below, err := CommitsUpTo(ctx, tl, w.Oldest)
	if err != nil {
		return w, err
	}
	w.From = highest
	list, _, err := first(ctx, tl, EventCommit, w.Oldest, w.Newest)
	if err != nil {
		return w, fmt.Errorf("find the oldest commit: %w", err)
	}
	for _, c := range list.Commits {
		if c.LSN > w.Oldest {
			if w.First = c; !below {
				w.From = c.Time
			}
			break
		}
	}
	if c, _, found, err := CommitsUpTo(ctx, tl, w.Newest); err != nil {
		return w, err
	} else if found && c.LSN > w.Oldest {
		w.Last = c
	}
	return w, nil
}
