package daemon

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Exit codes of all programs; a script may rely on them.
const (
	ExitDone          = 0 // Done; for a daemon also: ended by SIGTERM after in-flight WAL was flushed.
	ExitFailed        = 1
	ExitUsage         = 2
	ExitOutsideWindow = 3 // The LSN or time lies outside what is kept.
	ExitGap           = 4 // WAL in between is missing.
	ExitQuorumLost    = 5
	ExitNotFound      = 6
	ExitRefused       = 7 // Going on could lose or fork history; starting again does not help.
	ExitStandby       = 8 // `walproposer check`: start it as a standby first.
)

// ExitError is an error that decides the process's exit code.
type ExitError struct {
	Code int
	Err  error
}

// Error returns the text of the error inside.
func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap returns the error inside.
func (e *ExitError) Unwrap() error { return e.Err }

// WithExit gives err the exit code; nil stays nil.
func WithExit(code int, err error) error {
	if err == nil {
		return nil
	}
	return &ExitError{Code: code, Err: err}
}

// ExitCode returns the code that err decides: 0 for nil, else that of the
// outermost [ExitError], else [ExitFailed].
func ExitCode(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &exit):
		return exit.Code
	default:
		return ExitFailed
	}
}

// Explainer is an error that has more to say to a person: what was found, and
// what can be done. Both may be empty.
type Explainer interface {
	error
	Explain() (detail, hint string)
}

// explained adds detail and hint to an error.
type explained struct {
	error
	detail, hint string
}

func (e *explained) Unwrap() error                  { return e.error }
func (e *explained) Explain() (detail, hint string) { return e.detail, e.hint }

// Explain adds what was found and what can be done to err; nil stays nil.
func Explain(err error, detail, hint string) error {
	if err == nil {
		return nil
	}
	return &explained{error: err, detail: detail, hint: hint}
}

// PrintError writes err for a person in PostgreSQL's form: ERROR, DETAIL, HINT, the
// latter two those of a server's error where nobody has said better.
func PrintError(w io.Writer, program string, err error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ERROR:  %s\n", program, indent(strings.TrimPrefix(err.Error(), "ERROR: ")))
	detail, hint := explanation(err)
	if detail != "" {
		fmt.Fprintf(&b, "DETAIL:  %s\n", indent(detail))
	}
	if hint != "" {
		fmt.Fprintf(&b, "HINT:  %s\n", indent(hint))
	}
	_, _ = io.WriteString(w, b.String()) // Nobody is left to tell.
}

func explanation(err error) (detail, hint string) {
	var more Explainer
	if errors.As(err, &more) {
		return more.Explain()
	}
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Detail, server.Hint
	}
	return "", ""
}

// indent lines up the further lines of a message under its first.
func indent(s string) string { return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n\t") }
