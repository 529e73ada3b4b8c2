package headless_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/walhaven/walhaven/replication/headless"
	"github.com/walhaven/walhaven/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Without a quorum no term is won, and nothing is left running.
func TestNothingIsHeldWithoutAQuorum(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o := headless.Options{ID: wal.TTID{Tenant: wal.TenantID{1}, Timeline: wal.TimelineID{2}}}
	for range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		address := ln.Addr().String()
		require.NoError(t, ln.Close()) // refused from here on
		host, port, _ := strings.Cut(address, ":")
		o.Peers = append(o.Peers, headless.Peer{Name: address, Conninfo: "host=" + host + " port=" + port + " user=none"})
	}
	_, err := headless.Sync(ctx, o)
	require.ErrorIs(t, err, headless.ErrNoQuorum)
	h, err := headless.Hold(ctx, o)
	require.ErrorIs(t, err, headless.ErrNoQuorum)
	h.Close()
}
