package archtest

import (
	"fmt"
	"path"
	"testing"

	"github.com/stretchr/testify/require"
)

// rows is the tree of packages, top to bottom. A package imports only packages
// of rows below its own; packages of one row do not know each other. wal,
// internal/invariant and, by tests, internal/alloctest may be imported from
// anywhere.
var rows = [][]string{
	{"cmd/*", "compute/fetchpg", "test/*", "bench/*"},
	{"compute/computetest", "bench"},
	{"operator"},
	// Wiring: picks implementations for interfaces, sees configuration.
	{"safekeeper", "pageserver", "walproposer"},
	{"internal/access", "internal/walcmd", "replication/headless"},
	{"internal/daemon", "internal/config"},
	// Moving WAL and pages.
	{"replication", "replication/sender", "replication/receiver", "ingest", "baseimport", "pageread", "backup", "auth", "compute"},
	// How a cluster lies in the page store.
	{"pagekey"},
	// Cores that do not know each other.
	{"replication/consensus", "pagestore", "redo", "shmqueue", "wal/walstore", "wal/waltail", "protocol", "internal/objstore", "internal/datadir", "internal/pgdata", "internal/disposable", "internal/seqpacket", "internal/conninfo", "internal/syncrep"},
	// Codecs.
	{"wal/walrecord", "wal/walrecord/walrecordtest", "redo/page", "protocol/admin", "protocol/walstream", "protocol/pushwal", "protocol/pagestream", "internal/postmaster"},
	{"wal", "internal/invariant", "internal/alloctest", "internal/archtest", "internal/durablefile", "internal/monotonic", "internal/ownthread", "internal/pause", "internal/procstat"},
}

var fromAnywhere = map[string]bool{"wal": true, "internal/invariant": true, "internal/alloctest": true, "internal/monotonic": true}

// rowOf returns the row of a package, 0 at the bottom.
func rowOf(pkg string) (int, bool) {
	for i, row := range rows {
		for _, pattern := range row {
			if ok, _ := path.Match(pattern, pkg); ok { // The patterns are constants.
				return len(rows) - 1 - i, true
			}
		}
	}
	return 0, false
}

// breaksArrow says why from must not import to, "" if it may.
func breaksArrow(from, to string) string {
	upper, ok := rowOf(from)
	if !ok {
		return fmt.Sprintf("package %s is in no row: say in internal/archtest where it belongs", from)
	}
	lower, ok := rowOf(to)
	switch {
	case !ok:
		return fmt.Sprintf("package %s is in no row: say in internal/archtest where it belongs", to)
	case fromAnywhere[to] || lower < upper:
		return ""
	case from == "test/e2e" || from == "test/interop" || from == "test/chaos":
		if to == "test/cluster" {
			return "" // The tests' own harness.
		}
	}
	return fmt.Sprintf("%s (row %d) must not import %s (row %d)", from, upper, to, lower)
}

func TestArrowsPointDown(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue // Tests may look at whatever they compare with.
		}
		if _, ok := rowOf(s.pkg); !ok {
			t.Errorf("%s: package %s is in no row: say in internal/archtest where it belongs", s.path, s.pkg)
		}
		for _, i := range s.imports {
			if to, ok := local(i); ok {
				if why := breaksArrow(s.pkg, to); why != "" {
					t.Errorf("%s: %s", s.path, why)
				}
			}
		}
	}
}

func TestArrowsNoticeWrongOnes(t *testing.T) {
	for _, wrong := range [][2]string{
		{"wal", "wal/walstore"},
		{"wal/walstore", "replication/consensus"},
		{"replication/consensus", "wal/walstore"},
		{"replication/sender", "replication/receiver"},
		{"protocol", "auth"},
		{"safekeeper", "walproposer"},
		{"replication", "internal/config"},
		{"compute", "operator"},
		{"operator", "cmd/walhaven"},
		{"wal", "surprise"},
		{"surprise", "wal"},
	} {
		require.NotEmpty(t, breaksArrow(wrong[0], wrong[1]), wrong)
	}
	for _, right := range [][2]string{
		{"cmd/safekeeper", "safekeeper"},
		{"safekeeper", "replication"},
		{"replication", "replication/consensus"},
		{"wal/walstore", "internal/invariant"},
		{"protocol/admin", "wal"},
		{"test/e2e", "test/cluster"},
	} {
		require.Empty(t, breaksArrow(right[0], right[1]), right)
	}
}
