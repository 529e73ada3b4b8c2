package walproposer

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/config"
)

// Whoever starts PostgreSQL has to check it each time: an older check, as one that a
// copy of the directory brings along, says nothing.
func TestServerThatWasNotCheckedIsNotPushedEarly(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	at := func(d time.Duration) string { return strconv.FormatInt(now.Add(d).Unix(), 10) }
	require.ErrorContains(t, startedBehindCheck(dir, at(0)), "check --allow-early-push")
	require.NoError(t, noteCheck(dir))
	require.NoError(t, os.Chtimes(filepath.Join(dir, checkNote), now, now))
	require.NoError(t, startedBehindCheck(dir, at(0)))
	require.NoError(t, startedBehindCheck(dir, at(2*time.Minute)))
	require.ErrorContains(t, startedBehindCheck(dir, at(time.Hour)), "check --allow-early-push", "started again")
	require.ErrorContains(t, startedBehindCheck(dir, at(-time.Minute)), "check --allow-early-push", "started before")
	require.Error(t, startedBehindCheck(dir, "x"))
}

func TestEarlyPushIsChosenOrLeft(t *testing.T) {
	for _, tc := range []struct {
		name, env string
		args      []string
		want      EarlyPush
	}{
		{name: "left alone", want: EarlyPushChecked},
		{name: "insisted", args: []string{"--early-push"}, want: EarlyPushOn},
		{name: "without", args: []string{"--no-early-push"}, want: EarlyPushOff},
		{name: "by the environment", env: "true", want: EarlyPushOn},
		{name: "without, by the environment", env: "false", want: EarlyPushOff},
		{name: "the flag wins", env: "true", args: []string{"--no-early-push"}, want: EarlyPushOff},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c Config
			parsed, err := config.Parse(config.Options{
				Program: "walproposer", Stdout: io.Discard, Stderr: io.Discard,
				Args: append([]string{"--postgres", "host=here", "--safekeepers", "one:1"}, tc.args...),
				LookupEnv: func(name string) (string, bool) {
					if name != "WALHAVEN_WALPROPOSER_EARLY_PUSH" || tc.env == "" {
						return "", false
					}
					return tc.env, true
				},
			}, &c)
			require.NoError(t, err)
			require.Equal(t, tc.want, earlyPushOf(c.Run.EarlyPush))
			row, ok := parsed.Row("early-push")
			require.True(t, ok)
			require.Equal(t, map[EarlyPush]string{EarlyPushChecked: "", EarlyPushOn: "true", EarlyPushOff: "false"}[tc.want], row.Value)
		})
	}
}
