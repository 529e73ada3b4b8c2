package admin

import "fmt"

// SQLSTATE codes that parsing and looking up can answer.
const (
	codeFeatureNotSupported = "0A000"
	codeInvalidParameter    = "22023"
	codeSyntaxError         = "42601"
	codeInvalidName         = "42602"
	codeNameTooLong         = "42622"
	codeUndefinedObject     = "42704"
	codeInternalError       = "XX000"
)

// Error is a refusal with what PostgreSQL clients show of it. Package protocol
// sends it as an ErrorResponse.
type Error struct {
	Code    string // SQLSTATE
	Message string
	Detail  string // optional
	Hint    string // optional
}

// Errorf makes an Error.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint sets the HINT line and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

func (e *Error) Error() string { return e.Message }

// SQLState returns the code.
func (e *Error) SQLState() string { return e.Code }

// ErrorDetail returns the DETAIL line.
func (e *Error) ErrorDetail() string { return e.Detail }

// ErrorHint returns the HINT line.
func (e *Error) ErrorHint() string { return e.Hint }

func syntaxError() *Error { return Errorf(codeSyntaxError, "syntax error") }

func syntaxErrorAt(t token) *Error {
	if t.kind == tokenEnd {
		return Errorf(codeSyntaxError, "syntax error at end of input")
	}
	return Errorf(codeSyntaxError, "syntax error at or near %q", t.source)
}
