package pagestore

import (
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

var (
	// ErrNotFound says that the key does not exist at the LSN.
	ErrNotFound = errors.New("no value at this LSN")
	// ErrNotYet says that the LSN lies above what was put.
	ErrNotYet = errors.New("LSN has not been reached")
	// ErrCollected says that the LSN lies below the cutoff of garbage
	// collection, or below the start of the timeline, and no pin names it.
	ErrCollected = errors.New("LSN is not kept any more")
	// ErrOrder says that a batch does not follow the one before it.
	ErrOrder = errors.New("entries are not in LSN order")
	// ErrTooLarge says that a value or batch exceeds its limit.
	ErrTooLarge = errors.New("limit exceeded")
	// ErrFenced says that another writer, or one with a higher generation, has
	// the timeline. Nothing will be accepted until the store is opened again.
	ErrFenced = errors.New("another writer has taken the timeline over")
	// ErrUnsure says that a write of the index failed where it is not known
	// which of two a crash would bring back. Reads go on; nothing is accepted
	// until the store is opened again.
	ErrUnsure = errors.New("an earlier write of the index failed; open the store again")
	// ErrExists says that the timeline exists already.
	ErrExists = errors.New("timeline already exists")
	// ErrNoTimeline says that there is no such timeline.
	ErrNoTimeline = errors.New("no such timeline")
	// ErrHasBranches says that a timeline has branches and cannot be deleted.
	ErrHasBranches = errors.New("timeline has branches")
	// ErrNewerVersion says that a newer program wrote the index.
	ErrNewerVersion = errors.New("index was written by a newer version of walhaven")
	// ErrIO says that the file system could not read a file, which may be whole:
	// trying again may help.
	ErrIO = errors.New("a file could not be read")
	// ErrClosed says that the store or timeline has been closed.
	ErrClosed = errors.New("page store is closed")
	// ErrNoImage is for [Options.Materialize]: no image can be made of the key;
	// its deltas are kept.
	ErrNoImage = errors.New("no image can be made")
)

// CorruptionError is damage found in a file, with its place.
type CorruptionError struct {
	Timeline wal.TimelineID
	File     string // name within the timeline's folder
	Offset   int64  // within the file; -1 when Err names it or it has none
	Err      error
}

func (e *CorruptionError) Error() string {
	at := ""
	if e.Offset >= 0 {
		at = fmt.Sprintf(", offset %d", e.Offset)
	}
	return fmt.Sprintf("corrupt data of timeline %s in file %s%s: %v", e.Timeline, e.File, at, e.Err)
}

func (e *CorruptionError) Unwrap() error { return e.Err }

// deadBy is the error of a timeline that err has ended: fenced, or unsure.
func deadBy(err error) error {
	if errors.Is(err, ErrFenced) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnsure, err)
}
