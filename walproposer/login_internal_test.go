package walproposer

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// Only the answer to an unknown command has a push worker get the password; an
// internal error of a safekeeper that has tokens does not.
func TestWhoLacksTokens(t *testing.T) {
	for want, answers := range map[bool][]pgconn.PgError{
		true: {
			{Code: "0A000", Message: `unrecognized command "CREATE TOKEN"`},
			{Code: "42601", Message: `syntax error at or near "TOKEN"`},
			{Code: "XX000", Message: "unsupported command CREATE TOKEN (expires_in '30')"},
		},
		false: {
			{Code: "XX000", Message: "too many open files"},
			{Code: "42501", Message: "permission denied"},
			{Code: "57P03", Message: "the safekeeper is shutting down"},
		},
	} {
		for _, e := range answers {
			require.Equal(t, want, lacksTokens(&e), "%s %s", e.Code, e.Message)
		}
	}
}

// A token is used where it was made, by TLS or without as the connection string
// says, and nowhere else.
func TestTokenOfOnePlace(t *testing.T) {
	parse := func() *pgconn.Config {
		c, err := pgconn.ParseConfig("host=a,b,a port=1,2,1 user=u sslmode=prefer")
		require.NoError(t, err)
		return c
	}
	places := sitesOf(parse())
	require.Equal(t, []site{{"a", 1}, {"b", 2}}, places)
	for _, at := range places {
		c := parse()
		require.NoError(t, at.narrow(c))
		require.Equal(t, []site{at}, sitesOf(c))
		require.Equal(t, at.Host, c.TLSConfig.ServerName)
		require.NotEmpty(t, c.Fallbacks)
		require.Nil(t, c.Fallbacks[0].TLSConfig, "sslmode=prefer tries without TLS, too")
	}
	require.Error(t, site{"a", 2}.narrow(parse()))
}
