package e2e

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/walproposer"
)

// TestRPOOfTheQuorum: what was not protected is known when the walproposer's machine
// is gone with its ledger, from any majority of the safekeepers, and from no less.
func TestRPOOfTheQuorum(t *testing.T) {
	c := cluster.New(t, cluster.Options{})
	ctx := context.Background()
	c.Eventually("the walproposer reads the log of the server that up started", func() bool {
		_, text := cluster.Get(t, "http://"+c.Walproposer.HTTP+"/v1/status")
		return strings.Contains(text, `"cancelled_waits":"seen"`)
	})
	require.NoError(t, c.Server.Set(ctx, map[string]string{"synchronous_commit": "local"}))
	c.Eventually("two safekeepers know", func() bool {
		n := 0
		for _, k := range c.Safekeepers {
			rows := askTimeline(t, c, k.PG, "SHOW INTERVALS")
			if len(rows) > 0 && strings.Contains(rows[len(rows)-1]["reason"], "local") {
				n++
			}
		}
		return n >= 2
	})
	first := rpo(t, c)
	require.NoError(t, c.Server.Kill())
	c.Kill("walproposer")
	require.NoError(t, os.Remove(c.Dir()+"/rpo.jsonl"))
	c.Kill("safekeeper-2")
	second := rpo(t, c)
	require.Contains(t, second[len(second)-1].Reason, "local")
	require.Equal(t, first, second)
	text, code := c.Walhaven("rpo")
	require.Zero(t, code, text)
	require.Contains(t, text, "Not known from the safekeepers' copy")

	c.Kill("safekeeper-3")
	text, code = c.Walhaven("rpo")
	require.Equal(t, daemon.ExitQuorumLost, code, text)
}

func rpo(t *testing.T, c *cluster.Cluster) (list []walproposer.Interval) {
	t.Helper()
	out, code := c.Walhaven("rpo", "-o", "json")
	require.Zero(t, code, out)
	_, rest, ok := strings.Cut(out, "[{") // behind what it says of the walproposer
	require.True(t, ok, out)
	require.NoError(t, json.Unmarshal([]byte("[{"+rest), &list), out)
	return list
}
