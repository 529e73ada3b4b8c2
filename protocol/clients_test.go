package protocol_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5" //nolint:depguard // The driver itself is the subject here.
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
)

// psql runs the real one and returns its output.
func psql(t *testing.T, addr string, conninfo string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("psql is not installed")
	}
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	args = append([]string{"-X", "-v", "VERBOSITY=verbose", "host=" + host + " port=" + port + " user=u dbname=d " + conninfo}, args...)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PGPASSFILE=/nonexistent", "HOME=/nonexistent"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestPsql(t *testing.T) {
	addr := serve(t, newTestHandler(t), protocol.Options{})
	for _, tc := range []struct {
		name, conninfo string
		args           []string
		want           string
	}{
		{
			"table", "",
			[]string{"-At", "-c", "SHOW TIMELINES"},
			"00000000000000000000000000000000||0/0\n00000000000000000000000000000001||0/1\n00000000000000000000000000000002||0/2\n",
		},
		{"version", "", []string{"-Atc", "select version()"}, "PostgreSQL 15.20 (walhaven), served by walhaven\n"},
		{"several in one", "", []string{"-Atc", "SELECT 1; SHOW server_version"}, "1\n15.20 (walhaven)\n"},
		{"error", "", []string{"-c", "FAIL"}, "ERROR:  55000: it failed\nDETAIL:  A detail.\nHINT:  A hint.\n"},
		{"transaction", "", []string{"-1", "-Atc", "SELECT 1"}, "1\n"},
		{
			"savepoints", "",
			[]string{"-At", "-v", "ON_ERROR_ROLLBACK=on", "-v", "AUTOCOMMIT=off", "-c", "FAIL", "-c", "SELECT 1", "-c", "commit"},
			"ERROR:  55000: it failed\nDETAIL:  A detail.\nHINT:  A hint.\n1\nCOMMIT\n",
		},
		{"primary", "target_session_attrs=primary", []string{"-Atc", "SELECT 1"}, "1\n"},
		{"physical", "replication=true", []string{"-Atc", "IDENTIFY_SYSTEM"}, "7710593507133112228|1|0/154C3E0|\n"},
		{"database", "replication=database", []string{"-Atc", "IDENTIFY_SYSTEM"}, "7710593507133112228|1|0/154C3E0|d\n"},
		{"setting", "options='-c a=b'", []string{"-At", "-c", `\encoding UTF8`, "-c", "SHOW client_encoding"}, "UTF8\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, _ := psql(t, addr, tc.conninfo, tc.args...)
			require.Equal(t, tc.want, out)
		})
	}
}

// TestPsqlCancel interrupts psql, which then asks for a cancel on a connection
// of its own.
func TestPsqlCancel(t *testing.T) {
	h := newTestHandler(t)
	addr := serve(t, h, protocol.Options{})
	path, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("psql is not installed")
	}
	host, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "-X", "host="+host+" port="+port+" user=u", "-c", "WAIT")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	<-h.running
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Contains(t, out.String(), "canceling statement due to user request")
}

func pgxConnect(t *testing.T, addr, parameters string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	conn, err := pgx.Connect(ctx, "postgres://u@"+addr+"/d?"+parameters)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestPgx(t *testing.T) {
	h := newTestHandler(t)
	addr := serve(t, h, protocol.Options{})
	ctx := context.Background()
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			conn := pgxConnect(t, addr, "default_query_exec_mode="+mode+"&application_name=x")
			require.NoError(t, conn.Ping(ctx))
			for range 2 {
				rows, err := conn.Query(ctx, "SHOW TIMELINES")
				require.NoError(t, err)
				type timeline struct {
					TenantID  string
					Name      *string
					CommitLSN string
				}
				list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[timeline])
				require.NoError(t, err)
				require.Len(t, list, 3)
				require.Equal(t, "0/2", list[2].CommitLSN)
				require.Nil(t, list[0].Name)
			}
			_, err := conn.Exec(ctx, "FAIL")
			var refused *pgconn.PgError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, "55000 A hint.", refused.Code+" "+refused.Hint)
			tx, err := conn.Begin(ctx)
			require.NoError(t, err)
			var one string
			require.NoError(t, tx.QueryRow(ctx, "SELECT 1").Scan(&one))
			require.Equal(t, "1", one)
			require.NoError(t, tx.Rollback(ctx))
		})
	}
	t.Run("read-write", func(t *testing.T) {
		require.NoError(t, pgxConnect(t, addr, "target_session_attrs=primary").Ping(ctx))
	})
	t.Run("cancel", func(t *testing.T) {
		conn := pgxConnect(t, addr, "")
		cancelled := make(chan error, 1)
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		go func() {
			<-h.running
			cancelled <- conn.PgConn().CancelRequest(ctx)
		}()
		_, err := conn.Exec(ctx, "WAIT")
		require.Equal(t, "57014", protocol.SQLState(err))
		require.NoError(t, <-cancelled)
	})
}

// TestHijackedStream takes over a pgconn connection, as the tap does.
func TestHijackedStream(t *testing.T) {
	h := newTestHandler(t)
	h.stream = func(_ context.Context, s *protocol.CopyStream) error {
		return errors.Join(s.Send([]byte("hello")), s.CloseSend())
	}
	h.after = complete
	addr := serve(t, h, protocol.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	conn, err := pgconn.Connect(ctx, "postgres://u@"+addr+"/d?replication=true")
	require.NoError(t, err)
	hijacked, err := conn.Hijack()
	require.NoError(t, err)
	require.NoError(t, hijacked.Conn.SetDeadline(time.Now().Add(testTimeout)))
	_, err = hijacked.Conn.Write(frame('Q', "START_REPLICATION 0/0\x00"))
	require.NoError(t, err)
	w := make([]byte, 8)
	_, err = hijacked.Conn.Read(w)
	require.NoError(t, err)
	require.Equal(t, frame('W', "\x00\x00\x00"), w)
	s := protocol.NewCopyStream(ctx, hijacked.Conn, protocol.StreamOptions{})
	defer s.Close()
	got, err := s.Receive()
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	require.NoError(t, s.Handshake())
	res, err := s.ReadResult()
	require.NoError(t, err)
	require.Equal(t, []string{"START_STREAMING", "START_REPLICATION"}, res.Tags)
}
