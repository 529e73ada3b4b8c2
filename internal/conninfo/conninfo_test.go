package conninfo

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]map[string]string{
		"":                            {},
		"host=a port = 5432":          {"host": "a", "port": "5432"},
		`password='it''s' x`:          nil,
		`password='a\'b\\' user=u\ v`: {"password": `a'b\`, "user": "u v"},
		"host='":                      nil,
		"postgres://u:p%20w@h:1/d?sslmode=require": {
			"user": "u", "password": "p w", "host": "h", "port": "1", "dbname": "d", "sslmode": "require",
		},
	} {
		got, err := Parse(s)
		if want == nil {
			require.Error(t, err, s)
			continue
		}
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
		again, err := Parse(Format(got))
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
}

func TestWithoutPassword(t *testing.T) {
	for s, want := range map[string]string{
		"host=a user=u password='p w' passfile=/f port=1": "host=a port=1 user=u",
		"password=secret": "",
		"postgres://u:secret@h:1/d?sslmode=disable":                        "postgres://u@h:1/d?sslmode=disable",
		"postgresql://h:1/d?password=secret&passfile=/f&sslmode=verify-ca": "postgresql://h:1/d?sslmode=verify-ca",
		"postgres://u:secret@h1:1,h2:2/d":                                  "postgres://u@h1:1,h2:2/d",
	} {
		got, err := WithoutPassword(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got)
	}
	for _, s := range []string{
		"password='secret", "password=my secret", "password=my secret word=", "password=my secret='word", "host=a password=my secret 'word=1",
		"postgres://u:secret@h:1/%zz",
	} {
		_, err := WithoutPassword(s)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
	}
	t.Setenv("PGPASSWORD", "")
	t.Setenv("PGPASSFILE", "/does/not/exist")
	plain, err := WithoutPassword("host=a password=secret sslmode=disable")
	require.NoError(t, err)
	config, err := pgconn.ParseConfig(plain)
	require.NoError(t, err)
	require.Empty(t, config.Password)
	require.Equal(t, "a", config.Host)
}

func TestCheck(t *testing.T) {
	for _, s := range []string{"", "host=a port=1 user=b sslmode=require", "postgres://u@h/d?connect_timeout=3"} {
		require.NoError(t, Check(s), s)
	}
	for _, s := range []string{"hst=a", "host=a password=secret sauce=1", "postgres://u:secret@h/d?sslmod=x", "port"} {
		err := Check(s)
		require.Error(t, err, s)
		require.NotContains(t, err.Error(), "sauce", "it may be part of a password")
	}
}
