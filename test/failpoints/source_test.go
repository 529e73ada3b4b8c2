package failpoints

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pointName is how a fail point is named; see package invariant.
var pointName = regexp.MustCompile(`^[a-z]+(/[a-z-]+)+$`)

// declared returns the fail points that the source declares, each with the place
// of one declaration: literals passed to invariant.Point and PointErr, and
// constants whose name begins with point.
func declared(t *testing.T) map[string]string {
	t.Helper()
	const root = "../.."
	points := map[string]string{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "invariant") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			for _, point := range pointsOf(n) {
				points[point] = fset.Position(n.Pos()).String()
			}
			return true
		})
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(points), 60, "the walk found the source")
	return points
}

// pointsOf returns the fail points that one call or declaration names.
func pointsOf(n ast.Node) (points []string) {
	var texts []ast.Expr
	switch n := n.(type) {
	case *ast.CallExpr:
		f, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || len(n.Args) == 0 {
			return nil
		}
		x, ok := f.X.(*ast.Ident)
		if ok && x.Name == "invariant" && (f.Sel.Name == "Point" || f.Sel.Name == "PointErr") {
			texts = n.Args[:1]
		}
	case *ast.ValueSpec:
		if strings.HasPrefix(n.Names[0].Name, "point") {
			texts = n.Values
		}
	}
	for _, e := range texts {
		literal, ok := e.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			continue // a constant, which is found where it is declared
		}
		if text, err := strconv.Unquote(literal.Value); err == nil && pointName.MatchString(text) {
			points = append(points, text)
		}
	}
	return points
}

// TestEveryPointHasARow keeps the table complete: a new fail point needs a row
// that says how a process is killed there, or why it cannot be and what else
// shows the same.
func TestEveryPointHasARow(t *testing.T) {
	points := declared(t)
	inTable := map[string]bool{}
	for _, p := range table {
		require.Contains(t, points, p.name, "the table names a fail point that the source does not have")
		inTable[p.name] = true
	}
	for _, prefix := range elsewhere {
		for name := range points {
			if strings.HasPrefix(name, prefix.prefix) {
				inTable[name] = true
			}
		}
	}
	for name, place := range points {
		require.True(t, inTable[name], "%s: fail point %q has no row in test/failpoints/table_test.go", place, name)
	}
}
