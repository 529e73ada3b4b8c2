package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/test/cluster"
)

// thePast goes through what an operator types after a mistake, and the exit codes.
func thePast(t *testing.T, c *cluster.Cluster) {
	ctx := context.Background()
	psql := func(sql string) {
		t.Helper()
		_, err := c.Server.Psql(ctx, "-c", sql)
		require.NoError(t, err)
	}
	psql("CREATE TABLE precious (i int)")
	psql("INSERT INTO precious VALUES (1)")
	psql("SELECT pg_create_restore_point('safe')")
	at := time.Now()
	psql("DROP TABLE precious")

	out, code := c.Walhaven("lsn", "--at", "latest")
	require.Zero(t, code, out)
	require.Regexp(t, `^[0-9A-F]+/[0-9A-F]+\n`, out)
	out, code = c.Walhaven("find", "drop", "prec*", "-o", "json")
	require.Zero(t, code, out)
	var drops []map[string]string
	require.NoError(t, json.Unmarshal([]byte(out), &drops))
	require.Len(t, drops, 1)
	require.Equal(t, [3]string{"postgres", "public", "precious"}, [3]string{drops[0]["database"], drops[0]["schema"], drops[0]["name"]})

	out, code = c.Walhaven("lsn", "--at", at.Format(time.RFC3339Nano), "-o", "jsonl")
	require.Zero(t, code, out)
	var moment map[string]string
	require.NoError(t, json.Unmarshal([]byte(out), &moment))
	require.Equal(t, moment["lsn"], drops[0]["before_lsn"], "the last commit before the drop")
	require.Equal(t, moment["next_commit_lsn"], drops[0]["lsn"])
	out, code = c.Walhaven("lsn", "--at", "xid:"+drops[0]["xid"])
	require.Zero(t, code, out)
	require.True(t, strings.HasPrefix(out, drops[0]["lsn"]+"\n"), out)
	out, code = c.Walhaven("lsn", "--at", "name:safe")
	require.Zero(t, code, out)
	out, code = c.Walhaven("window")
	require.Zero(t, code, out)
	require.Contains(t, out, "restore window      168h0m0s")

	for want, args := range map[int][]string{
		2: {"lsn", "--at", "yesterday"}, 3: {"lsn", "--at", "2001-01-01T00:00:00Z"}, 6: {"find", "truncate", "precious"},
	} {
		out, code = c.Walhaven(args...)
		require.Equal(t, want, code, "%s: %s", args, out)
	}
	_, code = c.Walhaven("lsn", "--at", "name:never")
	require.Equal(t, 6, code)
	_, code = c.Walhaven("lsn", "--at", "0/28")
	require.Equal(t, 3, code)
}
