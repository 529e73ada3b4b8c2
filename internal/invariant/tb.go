package invariant

import "errors"

// ErrInjected is what [PointErr] returns at a point whose action is "error".
var ErrInjected = errors.New("injected by a fail point")

// TB is the part of testing.TB that hooks need; it keeps package testing out
// of the programs.
type TB interface {
	Helper()
	Cleanup(func())
	Skipf(format string, args ...any)
}

// Require skips the test t in a build without assertions and fail points.
func Require(t TB) {
	t.Helper()
	if !Enabled {
		t.Skipf("needs fail points: run with -tags invariants or -race")
	}
}
