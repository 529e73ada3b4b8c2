package daemon

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Silent connections, however many, keep no request out.
func TestSilentConnectionsKeepNoScrapeOut(t *testing.T) {
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	web := NewHTTP(HTTPOptions{Program: "safekeeper"})
	done := make(chan error, 1)
	go func() { done <- web.Serve(ctx, ln) }()
	var silent []net.Conn
	for range 2 * maxConns {
		c, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		silent = append(silent, c)
	}
	for range 3 {
		resp, err := http.Get("http://" + ln.Addr().String() + "/livez")
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	_, err = silent[0].Read(make([]byte, 1))
	require.Error(t, err, "the oldest had to leave")
	for _, c := range silent {
		_ = c.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	require.NoError(t, <-done)
}

// One that is being answered is not ended for a new one.
func TestActiveConnectionsStay(t *testing.T) {
	l := newConnLimit(2)
	conns := make([]net.Conn, 4)
	for i := range conns {
		conns[i], _ = net.Pipe()
	}
	closed := func(c net.Conn) bool { return c.SetReadDeadline(time.Time{}) != nil }
	l.changed(conns[0], http.StateNew)
	l.changed(conns[0], http.StateActive)
	l.changed(conns[1], http.StateNew)
	l.changed(conns[2], http.StateNew)
	require.True(t, closed(conns[1]))
	require.False(t, closed(conns[0]))
	l.changed(conns[1], http.StateClosed)
	l.changed(conns[2], http.StateActive)
	l.changed(conns[3], http.StateNew)
	require.True(t, closed(conns[3]), "all others are being answered")
	require.False(t, closed(conns[0]))
	require.False(t, closed(conns[2]))
	for _, c := range conns {
		l.changed(c, http.StateClosed)
		_ = c.Close()
	}
	require.Empty(t, l.places)
	require.Zero(t, l.idle.Len())
}
