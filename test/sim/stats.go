package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Stats counts what a run has met, by name.
type Stats map[string]int

func (s Stats) count(what string, n int) {
	if n > 0 {
		s[what] += n
	}
}

// Add adds another run's counts.
func (s Stats) Add(o Stats) {
	for what, n := range o {
		s[what] += n
	}
}

// String is a line each, in the order of names.
func (s Stats) String() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%10d  %s\n", s[what], what)
	}
	return b.String()
}
