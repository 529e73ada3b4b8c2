package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// Pages that promise a test for what they say name ones that exist.
func TestNamedTestsExist(t *testing.T) {
	exists := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && d.Name()[0] == '.':
			return filepath.SkipDir
		case d.IsDir() || !regexp.MustCompile(`_test\.go$`).MatchString(path):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			exists[m[1]] = true
		}
		return err
	})
	require.NoError(t, err)
	for _, page := range []string{"docs/consensus.md", "docs/failures.md"} {
		text, err := os.ReadFile(filepath.Join(root, page))
		require.NoError(t, err)
		named := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(text), -1)
		require.NotEmpty(t, named, page)
		for _, name := range named {
			if !exists[name] {
				t.Errorf("%s names %s, which does not exist", page, name)
			}
		}
	}
}
