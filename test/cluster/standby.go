package cluster

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// Standby starts a stock standby, made from the base backup that `up` took, that
// follows the safekeeper at address. It ends with the test.
func (c *Cluster) Standby(address string) *compute.Server {
	c.t.Helper()
	host, port, _ := strings.Cut(address, ":")
	return c.standby(map[string]string{
		"primary_conninfo":          "host=" + host + " port=" + port + " user=" + c.User + " password=" + c.password(),
		"synchronous_standby_names": "",
	})
}

// WarmStandby starts a stock standby that follows whichever safekeeper answers, as
// docs/operations.md says; names is its synchronous_standby_names, which is not
// in force before it is promoted.
func (c *Cluster) WarmStandby(names string) *compute.Server {
	c.t.Helper()
	var addresses []string
	for _, n := range c.Safekeepers {
		addresses = append(addresses, n.PG)
	}
	conninfo, err := walproposer.StandbyConninfo(addresses, c.User, c.password(), wal.TTID{Tenant: c.Tenant, Timeline: c.Timeline})
	require.NoError(c.t, err)
	return c.standby(map[string]string{"primary_conninfo": conninfo, "synchronous_standby_names": names})
}

// standby starts one from the base backup.
func (c *Cluster) standby(settings map[string]string) *compute.Server {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	dir := filepath.Join(computetest.TempDir(c.t), "standby")
	out, err := exec.Command("cp", "-a", filepath.Join(c.Dir(), "base"), dir).CombinedOutput()
	require.NoError(c.t, err, "%s", out)
	settings["hot_standby"] = "on"
	server, err := compute.Open(compute.OpenOptions{
		Install: c.Server.Install(), DataDir: dir, Password: c.password(), NewPort: true, Settings: settings,
	})
	require.NoError(c.t, err)
	require.NoError(c.t, server.WriteFile("standby.signal", nil))
	require.NoError(c.t, server.Start(ctx, compute.StartOptions{}))
	c.t.Cleanup(func() { _ = server.Kill() })
	return server
}

// Promoted makes a server that a failover has promoted the cluster's.
func (c *Cluster) Promoted(server *compute.Server) {
	c.t.Helper()
	loaded, err := operator.LoadCluster(filepath.Join(c.Dir(), operator.ClusterFile))
	require.NoError(c.t, err)
	require.Equal(c.t, server.DataDir(), loaded.Postgres.DataDir, "the cluster file names the new primary")
	c.Cluster, c.Server = loaded, server
}
