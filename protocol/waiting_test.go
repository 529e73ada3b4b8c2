package protocol_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
)

// Connections that say nothing, however many, keep nobody out, and do not end
// those that have logged in.
func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	addr := serve(t, newTestHandler(t), protocol.Options{MaxConnections: 2, MaxWaiting: 3})
	early := dialRaw(t, addr)
	early.start()
	var silent []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		silent = append(silent, c)
	}
	late := dialRaw(t, addr)
	late.start()
	require.Equal(t, "T D D D C(SELECT 3) ZI", shape(late.query("SHOW TIMELINES")))
	require.Equal(t, "T D D D C(SELECT 3) ZI", shape(early.query("SHOW TIMELINES")))
	require.NoError(t, silent[0].SetReadDeadline(time.Now().Add(testTimeout)))
	_, err := silent[0].Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, net.ErrClosed)
	require.False(t, isTimeout(err), "the oldest had to leave")
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error) //nolint:errorlint // As the net package returns it.
	return ok && timeout.Timeout()
}
