package archtest

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// maxLines is the size that a file has outgrown its one purpose at.
const maxLines = 700

func TestFilesAreSmall(t *testing.T) {
	var sizes []int
	for _, s := range sources(t) {
		if generated(s) {
			continue
		}
		if s.lines > maxLines {
			t.Errorf("%s has %d lines: split it by purpose", s.path, s.lines)
		}
		if !s.test {
			sizes = append(sizes, s.lines)
		}
	}
	slices.Sort(sizes)
	t.Logf("%d files; lines: median %d, p90 %d, largest %d",
		len(sizes), sizes[len(sizes)/2], sizes[len(sizes)*9/10], sizes[len(sizes)-1])
}

func generated(s source) bool {
	for _, group := range s.syntax.Comments {
		if strings.Contains(group.Text(), "DO NOT EDIT") && group.Pos() < s.syntax.Package {
			return true
		}
	}
	return false
}

// Each package says what lives there, in the form that go doc shows.
func TestEachPackageHasAComment(t *testing.T) {
	for pkg, files := range packages(t) {
		comments := 0
		for _, s := range files {
			if s.syntax.Doc == nil {
				continue
			}
			comments++
			text, name := s.syntax.Doc.Text(), s.syntax.Name.Name
			if name == "main" {
				name = filepath.Base(pkg)
			}
			if !strings.HasPrefix(text, "Package "+name+" ") && !strings.HasPrefix(text, "Command "+name+" ") {
				t.Errorf("%s: the package comment does not begin with its name: %q", s.path, firstLine(text))
			}
		}
		if comments != 1 {
			t.Errorf("package %s has %d package comments, want one", pkg, comments)
		}
	}
}

func firstLine(s string) string { line, _, _ := strings.Cut(s, "\n"); return line }

// Each package that starts goroutines shows in its tests that none is left.
func TestGoroutinesAreCheckedForLeaks(t *testing.T) {
	checked := map[string]bool{}
	for _, s := range sources(t) {
		if s.test && s.importsPath("go.uber.org/goleak") {
			checked[s.pkg] = true
		}
	}
	for pkg, files := range packages(t) {
		if strings.HasPrefix(pkg, "test/") || strings.HasPrefix(pkg, "cmd/") {
			continue // Whole processes; they end.
		}
		for _, s := range files {
			if starts := s.goStatements(); len(starts) > 0 && !checked[pkg] {
				t.Errorf("%s: add goleak.VerifyTestMain to the tests of %s", starts[0], pkg)
				break
			}
		}
	}
}

// Tests that start PostgreSQL leave nothing behind when they are interrupted.
func TestTestsWithPostgreSQLAreWatched(t *testing.T) {
	starts, watched := map[string]string{}, map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		if s.importsPath(module+"/compute/computetest") || s.importsPath(module+"/test/cluster") {
			starts[s.pkg] = s.path
		}
		if len(s.uses(module+"/compute/computetest", "Watch")) > 0 {
			watched[s.pkg] = true
		}
	}
	require.NotEmpty(t, watched)
	for pkg, path := range starts {
		if !watched[pkg] {
			t.Errorf("%s: begin TestMain of %s with computetest.Watch()", path, pkg)
		}
	}
}

// A replaced module is what nobody else builds.
func TestModulesAreNotReplaced(t *testing.T) {
	directive := regexp.MustCompile(`(?m)^\s*(replace|exclude)\b`)
	for _, name := range []string{"go.mod", "tools/go.mod"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.NotRegexp(t, directive, string(text), name)
	}
	require.NoFileExists(t, filepath.Join(root, "go.work"))
}

// maxDirectDependencies is where a new dependency must replace an old one.
const maxDirectDependencies = 25

func TestDependenciesAreFew(t *testing.T) {
	direct := map[string]bool{}
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	required := regexp.MustCompile(`(?m)^\t(\S+\.\S+/\S+) v`).FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, required)
	for _, s := range sources(t) {
		for _, i := range s.imports {
			for _, m := range required {
				if i == m[1] || strings.HasPrefix(i, m[1]+"/") {
					direct[m[1]] = true
				}
			}
		}
	}
	require.LessOrEqual(t, len(direct), maxDirectDependencies, slices.Sorted(maps.Keys(direct)))
	t.Logf("%d direct dependencies", len(direct))
}
