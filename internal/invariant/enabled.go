//go:build invariants || race

package invariant

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
)

// Enabled reports whether assertions and fail points are compiled in.
const Enabled = true

// hook is one test's interest in a point; n counts the passes since it began.
type hook struct {
	n int
	f func(n int) error
}

// points is the process's registry. A registry per component would have to be
// passed through every layer only for tests; names are unique enough.
var points = struct {
	sync.Mutex
	hits  map[string]int
	hooks map[string][]*hook
	rules map[string][]rule
}{
	hits:  map[string]int{},
	hooks: map[string][]*hook{},
	rules: rulesFromEnvironment(),
}

// Assert panics with msg when cond is false, in builds with [Enabled].
func Assert(cond bool, msg string) {
	if !cond {
		panic("invariant broken: " + msg)
	}
}

// Point passes the fail point name.
func Point(name string) { _ = pass(name) }

// PointErr passes the fail point name and returns the error that a hook or the
// environment asks for there; nil in builds without [Enabled].
func PointErr(name string) error { return pass(name) }

// Poison overwrites b, so that a use after release is seen. It does nothing in
// builds without [Enabled].
func Poison(b []byte) {
	for i := range b {
		b[i] = 0xDB
	}
}

// Sometimes reports true in percent of 100 calls in builds with [Enabled], to
// take rare paths often; otherwise always false.
func Sometimes(percent int) bool { return rand.IntN(100) < percent }

// Hits returns how often each fail point was passed in this process; empty in
// builds without [Enabled].
func Hits() map[string]int {
	points.Lock()
	defer points.Unlock()
	return maps.Clone(points.hits)
}

// OnPoint calls f with the number of the pass (from 1, counted from this call
// of OnPoint) each time that the fail point name is passed, until t ends. It
// skips t in builds without [Enabled].
func OnPoint(t TB, name string, f func(n int)) {
	t.Helper()
	OnPointErr(t, name, func(n int) error { f(n); return nil })
}

// OnPointErr is [OnPoint] for points passed by [PointErr]: an error that f
// returns is returned there.
func OnPointErr(t TB, name string, f func(n int) error) {
	t.Helper()
	h := &hook{f: f}
	points.Lock()
	points.hooks[name] = append(points.hooks[name], h)
	points.Unlock()
	t.Cleanup(func() {
		points.Lock()
		defer points.Unlock()
		kept := points.hooks[name][:0:0]
		for _, other := range points.hooks[name] {
			if other != h {
				kept = append(kept, other)
			}
		}
		points.hooks[name] = kept
	})
}

// call is a hook with the number of the pass that it is told.
type call struct {
	f func(n int) error
	n int
}

// pass counts a pass of name and does what rules and hooks ask for. Hooks run
// without the lock, so they may pass points themselves and may block.
func pass(name string) error {
	points.Lock()
	points.hits[name]++
	n := points.hits[name]
	rules := points.rules[name]
	calls := make([]call, 0, len(points.hooks[name]))
	for _, h := range points.hooks[name] {
		h.n++
		calls = append(calls, call{f: h.f, n: h.n})
	}
	points.Unlock()

	var err error
	for _, r := range rules {
		if r.nth == 0 || r.nth == n {
			err = r.act(name, n)
		}
	}
	for _, c := range calls {
		if e := c.f(c.n); e != nil && err == nil {
			err = e
		}
	}
	return err
}

// act carries out the rule at the n-th pass of name.
func (r rule) act(name string, n int) error {
	switch r.action {
	case actionKill:
		fmt.Fprintf(os.Stderr, "fail point %s@%d: killing PID %d\n", name, n, os.Getpid())
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // The signal is on its way; nothing may run after the point.
	case actionStop:
		fmt.Fprintf(os.Stderr, "fail point %s@%d: stopping PID %d\n", name, n, os.Getpid())
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case actionError:
		return fmt.Errorf("%s@%d: %w", name, n, ErrInjected)
	}
	return nil
}

func rulesFromEnvironment() map[string][]rule {
	rules, err := parseRules(os.Getenv(environment))
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", environment, err)
		os.Exit(2)
	}
	return rules
}
