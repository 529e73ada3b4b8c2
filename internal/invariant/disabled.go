//go:build !invariants && !race

package invariant

// Enabled reports whether assertions and fail points are compiled in.
const Enabled = false

// Assert panics with msg when cond is false, in builds with [Enabled].
func Assert(bool, string) {}

// Point passes the fail point name.
func Point(string) {}

// PointErr passes the fail point name and returns the error that a hook or the
// environment asks for there; nil in builds without [Enabled].
func PointErr(string) error { return nil }

// Poison overwrites b, so that a use after release is seen. It does nothing in
// builds without [Enabled].
func Poison([]byte) {}

// Sometimes reports true in percent of 100 calls in builds with [Enabled], to
// take rare paths often; otherwise always false.
func Sometimes(int) bool { return false }

// Hits returns how often each fail point was passed in this process; empty in
// builds without [Enabled].
func Hits() map[string]int { return map[string]int{} }

// OnPoint calls f with the number of the pass (from 1, counted from this call
// of OnPoint) each time that the fail point name is passed, until t ends. It
// skips t in builds without [Enabled].
func OnPoint(t TB, _ string, _ func(n int)) { t.Helper(); Require(t) }

// OnPointErr is [OnPoint] for points passed by [PointErr]: an error that f
// returns is returned there.
func OnPointErr(t TB, _ string, _ func(n int) error) { t.Helper(); Require(t) }
