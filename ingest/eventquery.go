package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Event is one entry of the index.
type Event struct {
	Kind EventKind
	LSN  wal.LSN // end of the record: what was before is there below it
	XID  uint32  // 0 if none
	// Time is the record's own, or that of the newest sampled commit before it for
	// records that have none.
	Time   wal.Timestamp
	Rels   []walrecord.RelFile
	Blocks uint32 // EventCut: length that is left
	Name   string // EventRestorePoint
	// Numbers: EventCheckpoint: redo pointer, operation (0 at shutdown); EventGap:
	// start of the lost record, where WAL goes on; EventTimeline: TLI, the one before.
	Numbers [2]uint64
}

// errEvent is in the chain of an error about an event that nothing here wrote.
var errEvent = errors.New("event is damaged")

func parseEvent(ref *pagekey.Ref, value []byte) (Event, error) {
	e := Event{Kind: EventKind(ref.Kind), LSN: ref.LSN}
	b := read(value)
	e.Time, e.XID = b.time(), b.u32()
	switch e.Kind {
	case EventDrop, EventTruncate, EventCreate, EventRelMap, EventDatabaseCreated, EventDatabaseDropped:
		for len(b.rest) > 0 {
			e.Rels = append(e.Rels, b.relFile())
		}
	case EventCut:
		e.Rels, e.Blocks = []walrecord.RelFile{b.relFile()}, b.u32()
	case EventRestorePoint:
		name, _, _ := bytes.Cut(b.rest, []byte{0})
		e.Name = string(name)
	case EventCheckpoint, EventGap, EventTimeline:
		e.Numbers = [2]uint64{b.u64(), b.u64()}
	}
	if b.bad {
		return e, fmt.Errorf("%s at %s: %w", e.Kind, e.LSN, errEvent)
	}
	return e, nil
}

// Events calls f with the events of a kind whose LSN lies in (after, upTo], in
// order, until f returns false.
func Events(ctx context.Context, tl *pagestore.Timeline, kind EventKind, after, upTo wal.LSN, f func(Event) bool) error {
	last := tl.LastLSN()
	return tl.Scan(ctx, pagekey.Events(uint8(kind), after, min(upTo, last)), last, pagestore.ScanOptions{},
		func(key pagestore.Key, v *pagestore.Value) (bool, error) {
			ref, err := pagekey.Parse(key)
			if err != nil {
				return false, err
			}
			e, err := parseEvent(&ref, v.Image)
			return err == nil && f(e), err
		})
}

// first is the first event of a kind in (after, upTo].
func first(ctx context.Context, tl *pagestore.Timeline, kind EventKind, after, upTo wal.LSN) (e Event, found bool, err error) {
	err = Events(ctx, tl, kind, after, upTo, func(x Event) bool {
		e, found = x, true
		return false
	})
	return e, found, err
}

// TimeAnswer is what the index knows of a time.
type TimeAnswer struct {
	// Before is the newest sampled commit at or before the time, After the first
	// one later; LSN 0 where there is none. Commits between the two are less than
	// Precision from Before's time, or later than After's record.
	Before, After Event
}

// Precision is how far apart the times of two sampled commits are at least, in
// microseconds.
const Precision = sampleInterval

// LSNAt looks a time up. To restore what was committed up to it, take Before.LSN,
// and read the WAL between the two for the last commits of less than Precision.
//
// It reads a number of events that grows with the logarithm of the WAL's length.
func LSNAt(ctx context.Context, tl *pagestore.Timeline, at wal.Timestamp) (a TimeAnswer, err error) {
	// The sampled times rise with the LSN: all up to lo are at or before the time,
	// the first one after hi is not.
	last := tl.LastLSN()
	lo, hi := wal.LSN(0), last
	for lo < hi {
		mid := lo + (hi-lo)/2
		e, found, err := first(ctx, tl, EventCommit, mid, last)
		switch {
		case err != nil:
			return a, fmt.Errorf("look a time up: %w", err)
		case found && e.Time <= at:
			a.Before, lo = e, e.LSN
		default:
			hi = mid
		}
	}
	a.After, _, err = first(ctx, tl, EventCommit, lo, last)
	return a, err
}

// Window is what can be restored.
type Window struct {
	Oldest, Newest           wal.LSN
	OldestCommit, LastCommit Event // first and last sampled commit in it; LSN 0 without one
}

// WindowOf returns the LSNs from which and up to which pages can be read, and
// the times of commits there.
func WindowOf(ctx context.Context, tl *pagestore.Timeline, from wal.LSN) (w Window, err error) {
	w.Oldest, w.Newest = max(from, tl.CutoffLSN()), tl.LastLSN()
	e, found, err := first(ctx, tl, EventCommit, w.Oldest, w.Newest)
	if err != nil || !found {
		return w, err
	}
	w.OldestCommit = e
	last, err := LSNAt(ctx, tl, 1<<63-1)
	w.LastCommit = last.Before
	return w, err
}
