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
	// Time is the record's own, or the highest of the commits before it for records
	// that have none.
	Time   wal.Timestamp
	Rels   []walrecord.RelFile
	Blocks uint32 // EventCut: length that is left
	Name   string // EventRestorePoint
	// Numbers: EventCheckpoint: redo pointer, operation (0 at shutdown); EventGap:
	// start of the lost record, where WAL goes on; EventTimeline: TLI, the one before.
	Numbers [2]uint64
	// Commits of EventCommit, in the order of WAL; Highest is the latest time of
	// all commits up to the last of them.
	Commits []Commit
	Highest wal.Timestamp
}

// errEvent is in the chain of an error about an event that nothing here wrote.
var errEvent = errors.New("event is damaged")

func parseEvent(ref *pagekey.Ref, value []byte) (Event, error) {
	e := Event{Kind: EventKind(ref.Kind), LSN: ref.LSN}
	b := walrecord.NewCursor(value)
	e.Time, e.XID = b.Time(), b.U32()
	switch e.Kind {
	case EventCommit:
		if !b.Bad {
			var err error
			e.Commits, e.Highest, err = parseCommits(Commit{LSN: e.LSN, Time: e.Time, XID: e.XID}, b.Rest)
			return e, err
		}
	case EventDrop, EventTruncate, EventCreate, EventRelMap, EventDatabaseCreated, EventDatabaseDropped, EventCatalog:
		for len(b.Rest) > 0 {
			e.Rels = append(e.Rels, b.RelFile())
		}
	case EventCut:
		e.Rels, e.Blocks = []walrecord.RelFile{b.RelFile()}, b.U32()
	case EventRestorePoint:
		name, _, _ := bytes.Cut(b.Rest, []byte{0})
		e.Name = string(name)
	case EventCheckpoint, EventGap, EventTimeline:
		e.Numbers = [2]uint64{b.U64(), b.U64()}
	}
	if b.Bad {
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
