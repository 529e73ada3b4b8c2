package replication

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/wal"
)

// TestExactConn: whatever the reader's buffer and however the bytes arrive, not
// one behind the CopyBothResponse is taken.
func TestExactConn(t *testing.T) {
	before := []byte("R\x00\x00\x00\x08\x00\x00\x00\x00" + "S\x00\x00\x00\x04" + "T\x00\x00\x00\x07abc" + "W\x00\x00\x00\x07\x00\x00\x00")
	behind := []byte("d\x00\x00\x00\x08wwww")
	for _, step := range []int{1, 2, 3, 7, 1000} {
		server, client := net.Pipe()
		go func() {
			defer server.Close()
			all := append(bytes.Clone(before), behind...)
			for len(all) > 0 {
				n := min(step, len(all))
				if _, err := server.Write(all[:n]); err != nil {
					return
				}
				all = all[n:]
			}
		}()
		got, err := io.ReadAll(&exactConn{Conn: client})
		require.NoError(t, err)
		require.Equal(t, before, got)
		rest, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Equal(t, behind, rest)
		require.NoError(t, client.Close())
	}
}

// TestExactConnNonsense: lengths from a hostile server neither panic nor stop
// the parser above from seeing them.
func TestExactConnNonsense(t *testing.T) {
	server, client := net.Pipe()
	go func() {
		_, _ = server.Write([]byte("E\x00\x00\x00\x00" + "E\xff\xff\xff\xff" + "xxxx"))
		_ = server.Close()
	}()
	got, err := io.ReadAll(&exactConn{Conn: client})
	require.NoError(t, err)
	require.Len(t, got, 14)
	require.NoError(t, client.Close())
}

// TestStreamStart takes over connections to a PostgreSQL that has megabytes to
// send at once, and finds every byte.
func TestStreamStart(t *testing.T) {
	server := computetest.New(t, computetest.Options{Settings: map[string]string{"wal_level": "replica", "max_wal_senders": "10"}})
	ctx := within(t)
	require.NoError(t, server.Exec(ctx, "CREATE TABLE t AS SELECT repeat('x', 100) AS x FROM generate_series(1, 30000)"))
	flush, err := server.QueryValue(ctx, "SELECT pg_current_wal_flush_lsn()")
	require.NoError(t, err)
	end, err := wal.ParseLSN(flush)
	require.NoError(t, err)
	size := wal.SegmentSize(16 << 20)
	start := size.SegmentStart(end)
	want, err := os.ReadFile(filepath.Join(server.DataDir(), "pg_wal", size.FileName(1, size.SegmentNo(end))))
	require.NoError(t, err)
	want = want[:end-start]
	require.Greater(t, len(want), 1<<20)

	for range 10 {
		got := streamed(t, ctx, server.Conninfo(), start, len(want))
		require.True(t, bytes.Equal(want, got), "the stream differs from pg_wal")
	}
}

func streamed(t *testing.T, ctx context.Context, conninfo string, start wal.LSN, n int) []byte {
	stream, err := Dial(ctx, conninfo, fmt.Sprintf("START_REPLICATION PHYSICAL %s TIMELINE 1", start),
		DialOptions{Params: map[string]string{"replication": "true"}})
	require.NoError(t, err)
	defer stream.Close()
	var got []byte
	for len(got) < n {
		payload, err := stream.Receive()
		require.NoError(t, err)
		if walstream.Kind(payload) != walstream.KindXLogData {
			continue
		}
		var m walstream.XLogData
		require.NoError(t, walstream.DecodeXLogData(payload, &m))
		require.Equal(t, start+wal.LSN(len(got)), m.Start)
		got = append(got, m.Data...)
	}
	return got[:n]
}

// TestClient asks a PostgreSQL, fails, asks again.
func TestClient(t *testing.T) {
	server := computetest.New(t, computetest.Options{})
	ctx := within(t)
	c, err := Connect(ctx, server.Conninfo(), DialOptions{Params: map[string]string{"replication": "true", "application_name": "walhaven"}})
	require.NoError(t, err)
	defer c.Close()
	require.NotZero(t, c.PID())
	require.Equal(t, "on", c.Parameter("integer_datetimes"))

	rows, err := c.Query(ctx, "IDENTIFY_SYSTEM")
	require.NoError(t, err)
	require.Len(t, rows, 1)
	_, known := rows[0]["dbname"]
	require.False(t, known, "NULL is absent")
	at, err := rows[0].LSN("xlogpos")
	require.NoError(t, err)
	require.NotZero(t, at)
	tli, err := rows[0].Uint("timeline")
	require.NoError(t, err)
	require.EqualValues(t, 1, tli)
	_, err = rows[0].Bool("timeline")
	require.Error(t, err)
	_, err = rows[0].LSN("nosuch")
	require.ErrorContains(t, err, "nosuch")

	// An error leaves the connection usable, from a query and from a stream.
	_, err = c.Query(ctx, "SHOW nosuch")
	requireState(t, "42704", err)
	_, _, err = c.Stream(ctx, "START_REPLICATION SLOT nosuch 0/0")
	requireState(t, "42704", err)
	_, err = c.Query(ctx, "IDENTIFY_SYSTEM")
	require.NoError(t, err)

	stream, _, err := c.Stream(ctx, "START_REPLICATION "+at.String())
	require.NoError(t, err)
	defer stream.Close()
	_, err = c.Query(ctx, "IDENTIFY_SYSTEM")
	require.ErrorIs(t, err, errUsedUp)
	require.Zero(t, c.PID())

	// The stream ends in order and its result follows.
	require.NoError(t, stream.Handshake())
	res, err := stream.ReadResult()
	require.NoError(t, err)
	require.Equal(t, []string{"START_STREAMING", "START_REPLICATION"}, res.Tags)

	rows, err = Query(ctx, server.Conninfo(), "SELECT true AS yes, NULL AS nothing", DialOptions{})
	require.NoError(t, err)
	require.Equal(t, []Row{{"yes": "t"}}, rows)
	_, err = Dial(ctx, server.Conninfo(), "SELECT 1", DialOptions{})
	require.ErrorContains(t, err, "without a stream")
}

func requireState(t *testing.T, code string, err error) {
	t.Helper()
	var refused *pgconn.PgError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, code, refused.Code)
}

// TestDialTimeout: a server that accepts and says nothing.
func TestDialTimeout(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	host, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	began := time.Now()
	_, err = Connect(within(t), fmt.Sprintf("host=%s port=%s user=u dbname=d sslmode=disable", host, port), DialOptions{Timeout: 50 * time.Millisecond})
	require.Error(t, err)
	require.Less(t, time.Since(began), patience/2)
	_, err = Connect(within(t), "port=notanumber", DialOptions{})
	require.ErrorContains(t, err, "parse connection string")
}

// An address that refuses is named once, though it is tried with and without TLS.
func TestConnectErrorsAreOneLine(t *testing.T) {
	_, err := Connect(t.Context(), "host=127.0.0.1 port=1 user=u sslmode=prefer", DialOptions{})
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NotContains(t, err.Error(), "\n")
	require.Equal(t, 1, strings.Count(err.Error(), "connection refused"), err.Error())
	require.Contains(t, err.Error(), "connect as u: 127.0.0.1:1")
}
