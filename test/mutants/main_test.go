package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPatchesApply: a patch whose lines are no longer in the code guards nothing,
// and only a run of all of them, which takes an hour, would say so.
func TestPatchesApply(t *testing.T) {
	mutants, err := load(".", regexp.MustCompile(""))
	require.NoError(t, err)
	require.NotEmpty(t, mutants)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			text, err := os.ReadFile(m.path)
			require.NoError(t, err)
			file, hunk := "", ""
			check := func() {
				if hunk == "" {
					return
				}
				content, err := os.ReadFile(filepath.Join("..", "..", file))
				require.NoError(t, err)
				require.Contains(t, string(content), hunk, file)
				hunk = ""
			}
			for line := range strings.Lines(string(text)) {
				switch {
				case strings.HasPrefix(line, "--- a/"):
					check()
					file = strings.TrimSpace(strings.TrimPrefix(line, "--- a/"))
				case strings.HasPrefix(line, "@@"):
					check()
				case file == "" || strings.HasPrefix(line, "+"):
				case strings.HasPrefix(line, "-") || strings.HasPrefix(line, " "):
					hunk += line[1:]
				case line == "\n": // an editor took the blank of an empty line
					hunk += line
				}
			}
			check()
		})
	}
}

// TestInterruptedTestCleansUp: a run that is interrupted waits until the test of its row
// has ended what it started.
func TestInterruptedTestCleansUp(t *testing.T) {
	dir := t.TempDir()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	// The inner shell is the test, the outer one stands for go test.
	test := "trap 'sleep 0.3; touch cleaned; exit 1' INT; touch started; while :; do sleep 0.1; done"
	ended := make(chan error, 1)
	go func() {
		_, err := command(ctx, dir, "sh", "-c", `trap : INT; sh -c "$1"`, "sh", test)
		ended <- err
	}()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(dir, "started"))
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	interrupt()
	require.Error(t, <-ended)
	require.FileExists(t, filepath.Join(dir, "cleaned"))
}
