package protocol

import (
	"context"
	"errors"
	"fmt"
)

// SQLSTATE codes in use here and by the programs (src/backend/utils/errcodes.txt).
const (
	CodeSuccessful           = "00000"
	CodeProtocolViolation    = "08P01"
	CodeFeatureNotSupported  = "0A000"
	CodeInvalidParameter     = "22023"
	CodeActiveTransaction    = "25001"
	CodeFailedTransaction    = "25P02"
	CodeUnknownStatement     = "26000"
	CodeInvalidAuthorization = "28000"
	CodeInvalidPassword      = "28P01"
	CodeUnknownCursor        = "34000"
	CodeUnknownDatabase      = "3D000"
	CodeSyntaxError          = "42601"
	CodeInvalidName          = "42602"
	CodeUndefinedObject      = "42704"
	CodeUndefinedTable       = "42P01"
	CodeDuplicateObject      = "42710"
	CodeInsufficientRight    = "42501"
	CodeDuplicateStatement   = "42P05"
	CodeTooManyConnections   = "53300"
	CodeLimitExceeded        = "53400"
	CodeDiskFull             = "53100"
	CodeProgramLimit         = "54000"
	CodeNotInState           = "55000"
	CodeObjectInUse          = "55006"
	CodeQueryCanceled        = "57014"
	CodeAdminShutdown        = "57P01"
	CodeCannotConnectNow     = "57P03"
	CodeIdleSessionTimeout   = "57P05"
	CodeIOError              = "58030"
	CodeUndefinedFile        = "58P01"
	CodeOutsideWindow        = "72000" // snapshot_too_old: pages are not kept, or not here yet
	CodeInternalError        = "XX000"
	CodeDataCorrupted        = "XX001"
)

// Severities of an Error. The zero value counts as SeverityError.
const (
	SeverityError   = "ERROR"
	SeverityFatal   = "FATAL"
	SeverityNotice  = "NOTICE"
	SeverityWarning = "WARNING"
)

// Error is an ErrorResponse or NoticeResponse: what a PostgreSQL client shows.
// A Handler that returns one decides code, detail and hint; a severity of FATAL
// also closes the connection. Received from a peer it is the peer's complaint.
type Error struct {
	Severity string // one of the Severity constants, "" counts as ERROR
	Code     string // SQLSTATE, five characters, "" counts as XX000
	Message  string // one line, no final full stop
	Detail   string // optional
	Hint     string // optional: what the user can do
	Err      error  // optional cause, never sent
}

// Errorf makes an Error. A wrapped error (%w) becomes its cause.
func Errorf(code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Severity: SeverityError, Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Fatalf is Errorf with a severity that closes the connection.
func Fatalf(code, format string, args ...any) *Error {
	e := Errorf(code, format, args...)
	e.Severity = SeverityFatal
	return e
}

// WithDetail sets the DETAIL line and returns e.
func (e *Error) WithDetail(format string, args ...any) *Error {
	e.Detail = fmt.Sprintf(format, args...)
	return e
}

// WithHint sets the HINT line and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Error is severity, message and code, as libpq prints them.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s (SQLSTATE %s)", e.severity(), e.Message, e.SQLState())
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// SQLState is the code, XX000 when none was set or it is none.
func (e *Error) SQLState() string {
	if len(e.Code) != 5 {
		return CodeInternalError
	}
	return e.Code
}

func (e *Error) severity() string {
	if e.Severity == "" {
		return SeverityError
	}
	return e.Severity
}

// SQLState is the code of the first error in err's chain that has one (an
// *Error, a pgconn.PgError, an error of protocol/admin), "" for nil, 57014 for
// a cancelled context, and XX000 otherwise.
func SQLState(err error) string {
	if err == nil {
		return ""
	}
	return asError(err).SQLState()
}

// coded is what errors of other packages implement to choose their SQLSTATE.
type coded interface {
	error
	SQLState() string
}

// explained adds the optional lines to a coded error.
type explained interface {
	ErrorDetail() string
	ErrorHint() string
}

// asError finds or makes the Error that a client should see for err.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	made := &Error{Severity: SeverityError, Code: CodeInternalError, Message: err.Error(), Err: err}
	var c coded
	if errors.As(err, &c) {
		made.Code = c.SQLState()
		if x, ok := c.(explained); ok {
			made.Message, made.Detail, made.Hint = c.Error(), x.ErrorDetail(), x.ErrorHint()
		}
		return made
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		made.Code = CodeQueryCanceled
	}
	return made
}
