package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/test/cluster"
)

// receivewal is the real pg_receivewal at a safekeeper.
type receivewal struct {
	t   *testing.T
	dir string
	log bytes.Buffer
}

// startReceivewal starts one that ends with the test, or returns nil where a
// reduced installation does not have it.
func startReceivewal(t *testing.T, c *cluster.Cluster) *receivewal {
	t.Helper()
	r := &receivewal{t: t, dir: computetest.TempDir(t)}
	ctx, cancel := context.WithCancel(context.Background())
	cmd, err := c.Server.Tool(ctx, "pg_receivewal")
	if err != nil {
		cancel()
		t.Logf("no pg_receivewal: %v", err)
		return nil
	}
	host, port, _ := strings.Cut(c.Safekeepers[0].PG, ":")
	password, err := os.ReadFile(c.PasswordFile)
	require.NoError(t, err)
	// Not as PostgreSQL's account, to whom the folder does not belong.
	receive := exec.CommandContext(ctx, cmd.Path, "-D", r.dir, "-h", host, "-p", port, "-U", c.User, "--no-loop")
	receive.Env = append(cmd.Environ(), "PGPASSWORD="+strings.TrimSpace(string(password)))
	receive.Stdout, receive.Stderr = &r.log, &r.log
	require.NoError(t, receive.Start())
	t.Cleanup(func() {
		cancel()
		_ = receive.Wait()
		if t.Failed() {
			t.Logf("pg_receivewal:\n%s", r.log.String())
		}
	})
	return r
}

// has waits until it has received WAL of a timeline.
func (r *receivewal) has(timeline string) {
	if r == nil {
		return
	}
	r.t.Helper()
	cluster.Eventually(r.t, "pg_receivewal follows to timeline "+timeline, func() bool {
		files, err := filepath.Glob(filepath.Join(r.dir, timeline+"0*"))
		return err == nil && len(files) > 0
	})
}
