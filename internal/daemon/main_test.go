package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMainReturnsTheCodeThatTheErrorDecides(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{nil, ExitDone, ""},
		{errors.New("disk on fire"), ExitFailed, "prog: ERROR:  disk on fire\n"},
		{fmt.Errorf("ask: %w", WithExit(ExitQuorumLost, errors.New("2 of 3 gone"))), ExitQuorumLost, "prog: ERROR:  ask: 2 of 3 gone\n"},
		{
			Explain(errors.New("bad\nthings"), "found this", "do that"), ExitFailed,
			"prog: ERROR:  bad\n\tthings\nDETAIL:  found this\nHINT:  do that\n",
		},
		{context.Canceled, ExitFailed, "prog: ERROR:  context canceled\n"},
	} {
		var stderr bytes.Buffer
		code := Main("prog", &stderr, func(context.Context) error { return c.err })
		require.Equal(t, c.code, code, c.err)
		require.Equal(t, c.says, stderr.String())
	}
	require.NoError(t, WithExit(3, nil))
	require.NoError(t, Explain(nil, "", "x"))
}

func TestFirstSignalEndsTheContext(t *testing.T) {
	for name, result := range map[string]func(ctx context.Context) error{
		"nil":      func(context.Context) error { return nil },
		"wrapped":  func(ctx context.Context) error { return fmt.Errorf("run: %w", ctx.Err()) },
		"cause":    context.Cause,
		"grouped":  func(ctx context.Context) error { var g Group; g.Add("a", wait); return g.Run(ctx) },
		"too late": func(ctx context.Context) error { return errors.Join(ctx.Err(), errors.New("flush failed")) },
	} {
		var stderr bytes.Buffer
		code := Main("prog", &stderr, func(ctx context.Context) error {
			require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
			<-ctx.Done()
			return result(ctx)
		})
		if name == "too late" {
			require.Equal(t, ExitFailed, code, "an end that failed is a failure")
			require.Contains(t, stderr.String(), "flush failed")
			continue
		}
		require.Equal(t, ExitDone, code, name)
		require.Empty(t, stderr.String(), name)
	}
}

func TestExitCodeOutlivesASignal(t *testing.T) {
	for _, result := range []func(context.Context) error{context.Cause, wait} {
		var stderr bytes.Buffer
		code := Main("prog", &stderr, func(ctx context.Context) error {
			require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
			<-ctx.Done()
			return WithExit(126, fmt.Errorf("get: %w", result(ctx)))
		})
		require.Equal(t, 126, code, "restore_command must not report success without a file")
		require.Contains(t, stderr.String(), "get: ")
	}
}

func TestSecondSignalEndsTheProcess(t *testing.T) {
	var stderr bytes.Buffer
	exited := make(chan int, 1)
	mainLoop("prog", &stderr, func(ctx context.Context) error {
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
		<-ctx.Done()
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
		require.Equal(t, 128+15, <-exited)
		return nil
	}, func(code int) { exited <- code })
	require.Contains(t, stderr.String(), "second signal (terminated)")
}

func wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestGroup(t *testing.T) {
	boom := errors.New("boom")
	var g Group
	g.Add("waits", wait)
	g.Add("fails", func(context.Context) error { return boom })
	g.Add("complains", func(ctx context.Context) error { <-ctx.Done(); return errors.New("close failed") })
	err := g.Run(t.Context())
	require.ErrorIs(t, err, boom)
	require.ErrorContains(t, err, "fails: boom")
	require.ErrorContains(t, err, "complains: close failed")
	require.NotContains(t, err.Error(), "waits")

	var quiet Group
	quiet.Add("waits", wait)
	quiet.Add("returns", func(context.Context) error { return nil })
	require.NoError(t, quiet.Run(t.Context()), "the end of one is the end of all")

	var none Group
	require.NoError(t, none.Run(t.Context()))
}
