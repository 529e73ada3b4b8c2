package syncrep_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/syncrep"
)

func TestMain(m *testing.M) {
	computetest.Watch()
	os.Exit(m.Run())
}

// taken and refused are values as PostgreSQL judges them.
var (
	taken = []string{
		"", "a", "*", `"*"`, "a,b", " a , b ", "1", "1,2", "1 (1)", "2(a,b)", "2 (a)", "FIRST 1 (a)", "first 1(a,*)", "ANY 1 (a)", "aNy 2 (a, b, c)",
		"ANY 1 (1, 2)", `""`, `"a b"`, `"a""b", c`, `"any"`, `ANY 1 ("first")`, "anyone", "firstly, any_1", "a$1", "_a", "é", "a\t,\tb", "4294967297 (a)",
	}
	refused = []string{
		" ", ",", "a,", ",a", "a,,b", "a b", "1a", "1 a", "$a", "a-b", "a.b", "'a'", "any", "first", "a, any", "ANY a", "ANY (a)", "ANY 1 a", "ANY 1", "ANY 1 ()",
		"ANY 0 (a)", "0 (a)", "-1 (a)", "4294967296 (a)", "99999999999999999999 (a)", "1 (a", "1 a)", "(a)", "a (b)", "1 (a) b", "1 (a)) ", "1 ((a))", `"a`, `"a"b`, `"a""`,
		"ANY 1 (FIRST)", "LAST 1 (a)", "FIRST ANY 1 (a)", "1 2 (a)", "ANY 1 (a),", `a""`, "\\", ";",
	}
)

// The parser takes and refuses what PostgreSQL does.
func TestAsPostgreSQL(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := computetest.New(t, computetest.Options{})
	for want, values := range map[bool][]string{true: taken, false: refused} {
		for _, value := range values {
			_, err := syncrep.Parse(value)
			require.Equal(t, want, err == nil, "%q: %v", value, err)
			err = s.Exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = '"+strings.ReplaceAll(value, "'", "''")+"'")
			require.Equal(t, want, err == nil, "PostgreSQL on %q: %v", value, err)
			if err != nil {
				require.Regexp(t, "invalid value for parameter|must be greater than zero", err.Error(), "for the value, nothing else")
			}
		}
	}
}
