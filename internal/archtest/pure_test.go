package archtest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// purity is what a package that only computes must not do.
type purity struct {
	imports []string // Forbidden, with everything below them.
	why     string
}

var (
	// valuesOnly: bytes and values in and out; fit to fuzz and to simulate.
	valuesOnly = purity{
		imports: []string{"os", "net", "log", "syscall", "sync", "math/rand", "crypto/rand", "golang.org/x/sys", "github.com/prometheus", "io/fs", "io/ioutil"},
		why:     "files, sockets, logs, metrics and chance belong to the drivers",
	}
	// noTime adds that time is a count of ticks that the caller makes.
	noTime = purity{imports: append([]string{"time", "context"}, valuesOnly.imports...), why: valuesOnly.why + "; time comes as ticks"}
)

var pure = map[string]purity{
	"internal/syncrep":      noTime,
	"wal":                   valuesOnly,
	"wal/walrecord":         valuesOnly,
	"wal/waltail":           valuesOnly,
	"redo":                  valuesOnly,
	"redo/page":             valuesOnly,
	"protocol/admin":        valuesOnly,
	"protocol/walstream":    valuesOnly,
	"protocol/pushwal":      valuesOnly,
	"protocol/pagestream":   valuesOnly,
	"replication/consensus": noTime,
}

// clock are the functions of package time that look at a clock or wait for one.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

func TestPurePackagesOnlyCompute(t *testing.T) {
	for _, s := range sources(t) {
		rule, ok := pure[s.pkg]
		if !ok || s.test {
			continue
		}
		for _, i := range s.imports {
			if forbidden := rule.forbids(i); forbidden {
				t.Errorf("%s imports %s: %s", s.path, i, rule.why)
			}
		}
		for _, place := range append(s.uses("time", clock...), s.goStatements()...) {
			t.Errorf("%s in a package that only computes", place)
		}
	}
}

func (p purity) forbids(importPath string) bool {
	for _, name := range p.imports {
		if importPath == name || strings.HasPrefix(importPath, name+"/") {
			return true
		}
	}
	return false
}

func TestPurityNoticesImports(t *testing.T) {
	for _, path := range []string{"os", "os/exec", "net", "log/slog", "sync/atomic", "math/rand/v2"} {
		require.True(t, valuesOnly.forbids(path), path)
	}
	for _, path := range []string{"fmt", "time", "math", "netip", "hash/crc32"} {
		require.False(t, valuesOnly.forbids(path), path)
	}
	require.True(t, noTime.forbids("time"))
}

// The simulator's results come from its seed alone.
func TestSimulatorHasNoClockAndNoGoroutine(t *testing.T) {
	for _, s := range sources(t) {
		if s.pkg != "test/sim" || s.test {
			continue
		}
		for _, place := range append(s.uses("time", clock...), s.goStatements()...) {
			t.Errorf("%s: a seed must decide all", place)
		}
	}
}

// A sleep is no synchronisation; inside a synctest bubble it costs no time.
func TestNoSleep(t *testing.T) {
	for _, s := range sources(t) {
		if s.importsPath("testing/synctest") {
			continue
		}
		for _, place := range s.uses("time", "Sleep") {
			t.Errorf("%s: wait for what you wait for, or use a ticker and a condition", place)
		}
	}
}
