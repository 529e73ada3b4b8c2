package pageread

import (
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

var (
	// ErrNoRelation says that the relation, or this fork of it, does not exist at
	// the LSN.
	ErrNoRelation = errors.New("relation does not exist at this LSN")
	// ErrNoSegment says that the SLRU has no such segment at the LSN.
	ErrNoSegment = errors.New("SLRU segment does not exist at this LSN")
	// ErrNoDatabase says that there is no such database at the LSN.
	ErrNoDatabase = errors.New("database does not exist at this LSN")
	// ErrRequest says that a request contradicts itself.
	ErrRequest = errors.New("invalid request")
)

// CollectedError says that an LSN is not readable, because garbage collection or
// the timeline's beginning lies above it.
type CollectedError struct{ Wanted, Oldest wal.LSN }

func (e *CollectedError) Error() string {
	return fmt.Sprintf("pages at %s are not kept: the oldest readable LSN is %s", e.Wanted, e.Oldest)
}
