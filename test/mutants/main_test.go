package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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
