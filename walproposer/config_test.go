package walproposer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/config"
	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// start runs the program as its command line says.
func start(ctx context.Context, stdout, stderr io.Writer, args ...string) error {
	var c walproposer.Config
	parsed, err := config.Parse(config.Options{
		Program: "walproposer", Args: args, Stdout: stdout, Stderr: stderr,
		LookupEnv: func(string) (string, bool) { return "", false },
	}, &c)
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	command, _, _ := strings.Cut(parsed.Context.Command(), " ")
	return c.Main(ctx, command, stdout, stderr)
}

func modeFlag() string { return fmt.Sprintf("--in-process=%t", inProcess()) }

func get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	answer, err := http.Get(url) //nolint:noctx // Of this process.
	if err != nil {
		return 0, nil
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, body
}

func TestProgramServesStatusAndEndsInOrder(t *testing.T) {
	t.Parallel()
	defer http.DefaultClient.CloseIdleConnections()
	w := newWorld(t, computetest.Options{})
	w.demandQuorum()
	port, err := compute.FreePort()
	require.NoError(t, err)
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- start(ctx, io.Discard, testWriter{t}, modeFlag(), "--postgres", w.pg.Conninfo(),
			"--safekeepers", strings.Join(w.addresses(), ","), "--tenant-id", w.id.Tenant.String(), "--listen-http", listen)
	}()
	require.Eventually(t, func() bool {
		code, _ := get(t, "http://"+listen+"/readyz")
		return code == 200
	}, patience, 20*time.Millisecond)
	require.NoError(t, w.insert(1))
	_, body := get(t, "http://"+listen+"/v1/status")
	var s walproposer.Status
	require.NoError(t, json.Unmarshal(body, &s))
	require.Equal(t, "streaming", s.State)
	require.True(t, s.Elected)
	require.NotZero(t, s.CommitLSN)
	_, metrics := get(t, "http://"+listen+"/metrics")
	require.Contains(t, string(metrics), "walhaven_walproposer_push_round_trip_seconds_count")
	cancel()
	require.NoError(t, <-done)

	var out bytes.Buffer
	require.NoError(t, start(w.ctx(), &out, testWriter{t}, "sync", "--tenant-id", w.id.Tenant.String(),
		"--safekeepers", strings.Join(w.addresses(), ",")))
	end, err := wal.ParseLSN(strings.TrimSpace(out.String()))
	require.NoError(t, err)
	require.GreaterOrEqual(t, end, s.CommitLSN)

	w.keepers[0].down()
	w.keepers[1].down()
	err = start(w.ctx(), &out, testWriter{t}, "sync", "--tenant-id", w.id.Tenant.String(), "--timeout", "1s",
		"--safekeepers", strings.Join(w.addresses(), ","))
	require.Equal(t, daemon.ExitQuorumLost, daemon.ExitCode(err))
}

// Service managers have to tell a refusal from what another start may mend.
func TestRefusalHasItsOwnExitCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	args := []string{
		modeFlag(), "--postgres", w.pg.Conninfo(), "--safekeepers", strings.Join(w.addresses(), ","),
		"--tenant-id", w.id.Tenant.String(), "--timeline", wal.TimelineID{7: 7}.String(), "--listen-http", "",
	}
	err := start(w.ctx(), io.Discard, io.Discard, args...)
	require.ErrorContains(t, err, "not founded")
	require.Equal(t, daemon.ExitRefused, daemon.ExitCode(err))
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"--postgres", "host=x"},
		{"--in-process", "--postgres", "host=x", "--safekeepers", "nonsense"},
		{"--in-process", "--postgres", "host=x", "--safekeepers", "a:1", "--tenant-id", "zz"},
		{"sync", "--safekeepers", "a:1"},
	} {
		err := start(t.Context(), io.Discard, io.Discard, args...)
		require.Equal(t, daemon.ExitUsage, daemon.ExitCode(err), "%v: %v", args, err)
	}
}
