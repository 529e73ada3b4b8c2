package walrecord

import (
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// ErrPosition is returned by Feed for bytes that do not follow those fed
// before. It leaves the scanner as it was.
var ErrPosition = errors.New("WAL does not continue at the expected position")

// CorruptionError says that bytes cannot be the WAL that belongs at their
// position.
type CorruptionError struct {
	LSN    wal.LSN // start of the page or of the record that is wrong
	Reason string
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("corrupt WAL at %s: %s", e.LSN, e.Reason)
}

func corrupt(at wal.LSN, format string, args ...any) error {
	return &CorruptionError{LSN: at, Reason: fmt.Sprintf(format, args...)}
}

// EndReason says how the end of WAL shows.
type EndReason uint8

// The ways in which written WAL ends in a file that is longer than it.
const (
	EndZeroLength EndReason = iota + 1 // zeros where a record would start
	EndZeroPage                        // zeros where a page header would be
	EndStalePage                       // a page of the recycled file's former life
)

func (r EndReason) String() string {
	switch r {
	case EndZeroLength:
		return "no record"
	case EndZeroPage:
		return "empty page"
	case EndStalePage:
		return "page of a recycled segment"
	}
	return "unknown"
}

// EndError says that WAL stops: nothing was ever written at LSN in this WAL's
// time. It tells the normal end of a preallocated or recycled segment from
// damage. A write torn inside a page shows as a [CorruptionError] instead,
// because its bytes are wrong rather than absent.
type EndError struct {
	LSN    wal.LSN // the record start or page start that holds nothing
	Torn   wal.LSN // start of the record whose rest is missing; 0 if WAL ends between records
	Reason EndReason
}

func (e *EndError) Error() string {
	if e.Torn != 0 {
		return fmt.Sprintf("end of WAL at %s, inside the record at %s: %s", e.LSN, e.Torn, e.Reason)
	}
	return fmt.Sprintf("end of WAL at %s: %s", e.LSN, e.Reason)
}

// IsEnd says whether err is, or wraps, an [EndError].
func IsEnd(err error) bool {
	var e *EndError
	return errors.As(err, &e)
}

// IsCorruption says whether err is, or wraps, a [CorruptionError].
func IsCorruption(err error) bool {
	var e *CorruptionError
	return errors.As(err, &e)
}

// IsPadding says whether err is about bytes behind a whole record, or in a page
// header, that [ScannerOptions].ZeroPadding wants to be zero.
func IsPadding(err error) bool {
	var e *CorruptionError
	return errors.As(err, &e) && e.Reason == errPadding
}
