package operator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/conninfo"
)

func TestStandbyNames(t *testing.T) {
	for value, want := range map[string]struct {
		list    standbyList
		needs   bool
		withAll string
	}{
		"":                       {standbyList{}, false, "FIRST 1 (walhaven)"},
		"walhaven":               {standbyList{count: 1, names: []string{"walhaven"}}, true, "FIRST 1 (walhaven)"},
		"s1, Walhaven":           {standbyList{count: 1, names: []string{"s1", "Walhaven"}}, false, "FIRST 2 (walhaven, s1)"},
		"2 (s1,walhaven)":        {standbyList{count: 2, names: []string{"s1", "walhaven"}}, true, "FIRST 2 (walhaven, s1)"},
		"FIRST 1 (walhaven, s1)": {standbyList{count: 1, names: []string{"walhaven", "s1"}}, false, "FIRST 2 (walhaven, s1)"},
		`ANY 1 ("a ""b"",c", s1)`: {
			standbyList{any: true, count: 1, names: []string{`a "b",c`, "s1"}}, false, `FIRST 3 (walhaven, "a ""b"",c", s1)`,
		},
		"*": {standbyList{count: 1, names: []string{"*"}}, false, `FIRST 2 (walhaven, "*")`},
	} {
		l, err := parseStandbyNames(value)
		require.NoError(t, err, value)
		require.Equal(t, want.list, l, value)
		require.Equal(t, want.needs, l.needsQuorum(), value)
		require.Equal(t, want.withAll, l.withAll(), value)
	}
	for _, value := range []string{"FIRST x (a)", "MANY 2 a (b)", "a)"} {
		_, err := parseStandbyNames(value)
		require.Error(t, err, value)
	}
}

// What is written into the cluster file and onto the walproposer's command line
// holds no password.
func TestServerHasNoPassword(t *testing.T) {
	server, err := resolveServer("postgres://boss:geheim@db.example:5433/app?sslmode=require")
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"host": "db.example", "port": "5433", "user": "boss", "dbname": "app", "sslmode": "require",
	}, server)
	require.Equal(t, "dbname=app host=db.example passfile=/x/y port=5433 sslmode=require user=walhaven",
		conninfo.Format(asRole(server, "walhaven", "/x/y")))
	_, err = resolveServer("host=a,b")
	require.ErrorIs(t, err, errSeveralHosts)
}
