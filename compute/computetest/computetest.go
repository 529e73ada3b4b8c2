// Package computetest gives tests a running PostgreSQL in one line:
//
//	server := computetest.New(t, computetest.Options{})
//
// The major comes from the environment variable PG (else any installed one) and
// the folder from WALHAVEN_PG_BIN. Where no PostgreSQL is installed the test is
// skipped, or fails when CI or WALHAVEN_TEST_NEED_PG is set; `make test` brings
// one first. WALHAVEN_TEST_FAST skips it in any case. The server ends with the test, whatever happens to it.
package computetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/wal"
)

// Options of a test's server; the zero value is a started server of any major
// with 16 MiB segments.
type Options struct {
	Major         int             // 0: PG's, else any.
	SegmentSize   wal.SegmentSize // 0: 16 MiB.
	DataChecksums bool
	Password      string            // Empty: loopback is trusted.
	Settings      map[string]string // Win over the small defaults.
	Dir           string            // Data directory; empty: below TempDir(t).
	NoStart       bool
}

// startTimeout is far above what a start takes on a busy machine.
const startTimeout = time.Minute

// New returns a server of its own for t. It is stopped (immediate) when t ends.
func New(t testing.TB, o Options) *compute.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*startTimeout)
	defer cancel()
	if o.Dir == "" {
		o.Dir = filepath.Join(TempDir(t), "pgdata")
	}
	settings := map[string]string{
		"shared_buffers": "16MB", "max_connections": "40",
		// A test ends its clients itself; no jobs in between.
		"autovacuum": "off",
	}
	for name, value := range o.Settings {
		settings[name] = value
	}
	server, err := compute.Init(ctx, compute.InitOptions{
		Install: Find(t, o.Major), DataDir: o.Dir, SegmentSize: o.SegmentSize, DataChecksums: o.DataChecksums,
		Password: o.Password, Settings: settings, NoSync: true,
	})
	if err != nil {
		t.Fatalf("create a PostgreSQL for the test: %v", err)
	}
	Own(t, server)
	if !o.NoStart {
		if err := server.Start(ctx, compute.StartOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return server
}

// TempDir is t.TempDir() that the account which PostgreSQL runs as can enter;
// t.TempDir() is closed to it when tests run as root.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "walhaven-test-") //nolint:usetesting // Its parent is closed to the other account.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the test's folder: %v", err)
		}
	})
	if os.Geteuid() == 0 {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Open returns the server of a copied data directory (a base backup, say) on a
// port of its own, not started. It is stopped when t ends.
func Open(t testing.TB, install compute.Install, dataDir string, settings map[string]string) *compute.Server {
	t.Helper()
	server, err := compute.Open(compute.OpenOptions{Install: install, DataDir: dataDir, NewPort: true, Settings: settings})
	if err != nil {
		t.Fatalf("open a PostgreSQL for the test: %v", err)
	}
	Own(t, server)
	return server
}

// Own stops server when t ends, and prints the end of its log if t failed.
func Own(t testing.TB, server *compute.Server) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		if err := server.Stop(ctx, compute.Immediate); err != nil {
			t.Errorf("stop the test's PostgreSQL: %v", errors.Join(err, server.Kill()))
		}
		if t.Failed() {
			if log, err := os.ReadFile(server.LogFile()); err == nil {
				t.Logf("PostgreSQL's log ends with:\n%s", log[max(0, len(log)-4000):])
			}
		}
	})
}

// Find returns the PostgreSQL to test with; major 0 means PG's, else any.
func Find(t testing.TB, major int) compute.Install {
	t.Helper()
	if os.Getenv("WALHAVEN_TEST_FAST") != "" {
		t.Skip("WALHAVEN_TEST_FAST is set: tests that need only Go")
	}
	want, err := compute.WantFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if major != 0 {
		want.Major = major
	}
	install, err := compute.Find(t.Context(), want)
	switch {
	case err == nil:
	case errors.Is(err, compute.ErrNotFound) && os.Getenv("CI") == "" && os.Getenv("WALHAVEN_TEST_NEED_PG") == "":
		t.Skipf("%v (make test brings one)", err)
	default:
		t.Fatal(err)
	}
	return install
}

// LSN is what a query says that returns one.
func LSN(t testing.TB, server *compute.Server, sql string) wal.LSN {
	t.Helper()
	text, err := server.QueryValue(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	lsn, err := wal.ParseLSN(text)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return lsn
}

// EachServer runs f for one install of each major on this machine, of which
// WALHAVEN_ORACLE_MAJORS=all wants every one, or, without all, for the one that New
// would take, which it takes within f. It skips t under -short.
func EachServer(t *testing.T, all bool, f func(t *testing.T, install compute.Install)) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts servers")
	}
	var installs []compute.Install
	if all {
		installs = Majors(t)
	}
	if want := compute.MaxMajor - compute.MinMajor + 1; AllMajors() && len(installs) < want {
		t.Fatalf("%d majors are on this machine, WALHAVEN_ORACLE_MAJORS=all wants %d: go run ./compute/fetchpg -majors 14,15,16,17,18",
			len(installs), want)
	}
	if len(installs) == 0 {
		installs = append(installs, Find(t, 0))
	}
	for _, install := range installs {
		t.Run(strconv.Itoa(install.Version.Major), func(t *testing.T) {
			t.Setenv("WALHAVEN_PG_BIN", install.BinDir)
			f(t, install)
		})
	}
}

// AllMajors says whether WALHAVEN_ORACLE_MAJORS=all wants the long tests against
// every major.
func AllMajors() bool { return os.Getenv("WALHAVEN_ORACLE_MAJORS") == "all" }

// Majors returns one install of each major on this machine, newest first; for
// tests that run against all of them.
func Majors(t testing.TB) []compute.Install {
	t.Helper()
	if os.Getenv("WALHAVEN_TEST_FAST") != "" {
		return nil
	}
	byMajor := map[int]compute.Install{}
	for _, install := range compute.FindAll(t.Context()) {
		if _, seen := byMajor[install.Version.Major]; !seen {
			byMajor[install.Version.Major] = install
		}
	}
	var all []compute.Install
	for major := compute.MaxMajor; major >= compute.MinMajor; major-- {
		if install, ok := byMajor[major]; ok {
			all = append(all, install)
		}
	}
	return all
}
