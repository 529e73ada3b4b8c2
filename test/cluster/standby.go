package cluster

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
)

// Standby starts a stock standby, made from the base backup that `up` took, that
// follows the safekeeper at address. It ends with the test.
func (c *Cluster) Standby(address string) *compute.Server {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	dir := filepath.Join(computetest.TempDir(c.t), "standby")
	out, err := exec.Command("cp", "-a", filepath.Join(c.Dir(), "base"), dir).CombinedOutput()
	require.NoError(c.t, err, "%s", out)
	host, port, _ := strings.Cut(address, ":")
	server, err := compute.Open(compute.OpenOptions{
		Install: c.Server.Install(), DataDir: dir, Password: c.password(), NewPort: true,
		Settings: map[string]string{
			"primary_conninfo":          "host=" + host + " port=" + port + " user=" + c.User + " password=" + c.password(),
			"synchronous_standby_names": "",
			"hot_standby":               "on",
		},
	})
	require.NoError(c.t, err)
	require.NoError(c.t, server.WriteFile("standby.signal", nil))
	require.NoError(c.t, server.Start(ctx, compute.StartOptions{}))
	c.t.Cleanup(func() { _ = server.Kill() })
	return server
}
