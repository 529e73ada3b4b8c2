package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/walhaven/walhaven"

// root is the repository, seen from this package's folder.
const root = "../.."

// source is one parsed Go file.
type source struct {
	path    string // Relative to the root, with slashes.
	pkg     string // Its folder, the import path without the module.
	test    bool
	lines   int
	syntax  *ast.File
	fset    *token.FileSet
	imports []string
}

var loaded = sync.OnceValues(load)

// sources returns every Go file of the module, all build tags included.
func sources(t *testing.T) []source {
	t.Helper()
	all, err := loaded()
	require.NoError(t, err)
	require.Greater(t, len(all), 50, "the walk found the repository")
	return all
}

func load() ([]source, error) {
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipFolder(rel, entry.Name())
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		s := source{
			path: filepath.ToSlash(rel), pkg: filepath.ToSlash(filepath.Dir(rel)),
			test: strings.HasSuffix(path, "_test.go"), lines: strings.Count(string(text), "\n"), syntax: file, fset: fset,
		}
		for _, i := range file.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, name)
		}
		all = append(all, s)
		return nil
	})
	return all, err
}

// skipFolder leaves out what is not this module: hidden folders, test data,
// nested modules and a running local cluster.
func skipFolder(rel, name string) error {
	if rel == "." {
		return nil
	}
	if strings.HasPrefix(name, ".") || name == "testdata" || rel == "walhaven-data" || rel == "bin" {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(root, rel, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

// packages returns the non-test files by package.
func packages(t *testing.T) map[string][]source {
	t.Helper()
	byPackage := map[string][]source{}
	for _, s := range sources(t) {
		if !s.test {
			byPackage[s.pkg] = append(byPackage[s.pkg], s)
		}
	}
	return byPackage
}

// importsPath reports whether s imports path.
func (s source) importsPath(path string) bool {
	for _, i := range s.imports {
		if i == path {
			return true
		}
	}
	return false
}

// local returns the package of this module that an import path names.
func local(importPath string) (pkg string, ok bool) {
	return strings.CutPrefix(importPath, module+"/")
}

// at names the place of a node.
func (s source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

// uses returns the places in s where a name of pkg is used, by the default name of
// the package.
func (s source) uses(pkg string, names ...string) []string {
	if !s.importsPath(pkg) {
		return nil
	}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	base := pkg[strings.LastIndex(pkg, "/")+1:]
	var places []string
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok && x.Name == base && wanted[selector.Sel.Name] {
			places = append(places, s.at(n)+": "+base+"."+selector.Sel.Name)
		}
		return true
	})
	return places
}

// goStatements returns the places where s starts a goroutine.
func (s source) goStatements() []string {
	var places []string
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		if _, ok := n.(*ast.GoStmt); ok {
			places = append(places, s.at(n)+": go statement")
		}
		return true
	})
	return places
}
