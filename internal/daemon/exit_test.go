package daemon_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/daemon"
)

// What a server says besides its message reaches the person, unless a program knows
// better.
func TestPrintErrorOfAServer(t *testing.T) {
	refused := fmt.Errorf("ask: %w", &pgconn.PgError{Severity: "ERROR", Message: "no", Code: "22023", Hint: "Ask again."})
	text := func(err error) string {
		var b strings.Builder
		daemon.PrintError(&b, "walhaven", err)
		return b.String()
	}
	require.Equal(t, "walhaven: ERROR:  ask: ERROR: no (SQLSTATE 22023)\nHINT:  Ask again.\n", text(refused))
	require.Equal(t, "walhaven: ERROR:  no (SQLSTATE 22023)\nHINT:  Ask again.\n", text(errors.Unwrap(refused)))
	require.Contains(t, text(daemon.Explain(refused, "", "Go home.")), "HINT:  Go home.\n")
}
