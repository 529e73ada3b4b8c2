package alloctest

import "testing"

// attempts is how often a count that is too high is taken again: the runtime
// counts what other goroutines of the process allocate meanwhile.
const attempts = 3

// None fails t if a call of f allocates.
func None(t testing.TB, runs int, f func()) {
	t.Helper()
	AtMost(t, 0, runs, f)
}

// AtMost fails t if a call of f makes more than limit allocations, averaged over
// so many runs; f runs once more before to warm up. The average is an integer,
// see testing.AllocsPerRun, which is why t must not run in parallel.
func AtMost(t testing.TB, limit float64, runs int, f func()) {
	t.Helper()
	if race {
		f()
		return
	}
	var n float64
	for range attempts {
		if n = testing.AllocsPerRun(runs, f); n <= limit {
			return
		}
	}
	t.Errorf("%v allocations a call, at most %v are allowed", n, limit)
}
