package walstore

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/walhaven/walhaven/wal"
)

var (
	// ErrGap says that bytes were offered or asked for above the end of the WAL.
	ErrGap = errors.New("position lies above the end of the stored WAL")
	// ErrOverlap says that bytes were offered below the end of the WAL.
	ErrOverlap = errors.New("position lies below the end of the stored WAL")
	// ErrRemoved says that retention has removed the bytes asked for.
	ErrRemoved = errors.New("WAL at this position has been removed")
	// ErrDiskFull says that there is no space. Nothing was acknowledged; the
	// same call may be tried again once there is space.
	ErrDiskFull = errors.New("disk is full")
	// ErrFenced says that an earlier write or fsync failed and nothing is
	// accepted until the store has been opened again.
	ErrFenced = errors.New("timeline is fenced after a failed write or fsync")
	// ErrExists says that the folder already holds a timeline.
	ErrExists = errors.New("timeline already exists")
	// ErrWrongTLI says that bytes do not belong to the PostgreSQL timeline that
	// the history gives for their position.
	ErrWrongTLI = errors.New("bytes belong to another PostgreSQL timeline")
	// ErrHistory says that a history contradicts the one that the stored bytes
	// were written under.
	ErrHistory = errors.New("timeline history contradicts the stored WAL")
	// ErrNotRecordEnd says that a truncation would cut through a record.
	ErrNotRecordEnd = errors.New("position is not the end of a record")
	// ErrNewerVersion says that a newer program wrote the control file.
	ErrNewerVersion = errors.New("control file was written by a newer version of walhaven")
	// ErrClosed says that the store has been closed.
	ErrClosed = errors.New("WAL store is closed")
)

// CorruptionError is damage found in stored or offered WAL, or in the control
// file, with its place.
type CorruptionError struct {
	Timeline wal.TTID
	File     string  // name within the timeline's folder; empty for offered bytes
	Offset   int64   // within the file
	LSN      wal.LSN // 0 for the control file
	Err      error
}

func (e *CorruptionError) Error() string {
	where := "offered WAL"
	if e.File != "" {
		where = fmt.Sprintf("file %s, offset %d", e.File, e.Offset)
	}
	if e.LSN != 0 {
		where += ", LSN " + e.LSN.String()
	}
	return fmt.Sprintf("corrupt data of timeline %s at %s: %v", e.Timeline, where, e.Err)
}

func (e *CorruptionError) Unwrap() error { return e.Err }

// IsDiskFull says whether err means that space is missing.
func IsDiskFull(err error) bool {
	return errors.Is(err, ErrDiskFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
