package operator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/conninfo"
)

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
