package compute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrNotFound is in the chain of the error that [Find] returns when no fitting
// PostgreSQL is on this machine.
var ErrNotFound = errors.New("no fitting PostgreSQL found")

// Want says which PostgreSQL [Find] shall look for.
type Want struct {
	// Major is the wanted major, 14 to 18; 0 takes any: PG_CONFIG's, else
	// PATH's, else the newest.
	Major int
	// BinDir, if set, is the only folder looked at.
	BinDir string
	// Download allows Find to unpack binaries into ToolsDir when none fit.
	Download bool
	// ToolsDir is where unpacked binaries live; empty means [ToolsDir]().
	ToolsDir string
	// Progress, if set, is told each command that a download runs.
	Progress func(line string)
}

// WantFromEnv is the Want of a developer's environment: the major from PG and
// the folder from WALHAVEN_PG_BIN.
func WantFromEnv() (Want, error) {
	w := Want{BinDir: os.Getenv("WALHAVEN_PG_BIN")}
	if pg := os.Getenv("PG"); pg != "" {
		major, err := strconv.Atoi(pg)
		if err != nil {
			return w, fmt.Errorf("PG=%s: want a major from %d to %d", pg, MinMajor, MaxMajor)
		}
		w.Major = major
	}
	return w, nil
}

// Find returns the PostgreSQL that w asks for. It looks at BinDir alone when
// that is set; otherwise at PG_CONFIG, PATH, the distribution's folders and
// ToolsDir, in that order. Without a fitting one the error wraps [ErrNotFound]
// unless w.Download brings one.
func Find(ctx context.Context, w Want) (Install, error) {
	if w.Major != 0 && (w.Major < MinMajor || w.Major > MaxMajor) {
		return Install{}, fmt.Errorf("PostgreSQL %d: walhaven works with majors %d to %d", w.Major, MinMajor, MaxMajor)
	}
	if w.BinDir != "" {
		return findIn(ctx, w)
	}
	all := findAll(ctx, w.toolsDir())
	if in, ok := pick(all, w.Major); ok {
		return in, nil
	}
	if !w.Download {
		return Install{}, fmt.Errorf("%w: %s; looked at PG_CONFIG, PATH, %s and %s",
			ErrNotFound, w.describe(), strings.Join(distributionDirs, ", "), w.toolsDir())
	}
	if err := download(ctx, w); err != nil {
		return Install{}, fmt.Errorf("%w: %s: %w", ErrNotFound, w.describe(), err)
	}
	if in, ok := pick(findAll(ctx, w.toolsDir()), w.Major); ok {
		return in, nil
	}
	return Install{}, fmt.Errorf("%w: %s, though a download ended well", ErrNotFound, w.describe())
}

// FindAll returns every supported PostgreSQL on this machine in Find's order of
// preference, each folder once.
func FindAll(ctx context.Context) []Install { return findAll(ctx, ToolsDir()) }

func (w Want) toolsDir() string { return cmp.Or(w.ToolsDir, ToolsDir()) }

func (w Want) describe() string {
	if w.Major == 0 {
		return fmt.Sprintf("wanted any major from %d to %d", MinMajor, MaxMajor)
	}
	return fmt.Sprintf("wanted major %d", w.Major)
}

func findIn(ctx context.Context, w Want) (Install, error) {
	in, err := probe(ctx, w.BinDir, "")
	if err != nil {
		return in, err
	}
	if w.Major != 0 && in.Version.Major != w.Major {
		return in, fmt.Errorf("%s holds PostgreSQL %s: %w: %s", w.BinDir, in.Version, ErrNotFound, w.describe())
	}
	lend(&in, findAll(ctx, w.toolsDir()))
	return in, nil
}

// pick takes the first of the wanted major. Installs are in order of
// preference, and the binaries named by the environment come first.
func pick(all []Install, major int) (Install, bool) {
	for _, in := range all {
		if major == 0 || in.Version.Major == major {
			return in, true
		}
	}
	return Install{}, false
}

// distributionDirs is where distributions and source builds put binaries.
var distributionDirs = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin"}

func findAll(ctx context.Context, toolsDir string) []Install {
	var found []Install
	seen := map[string]bool{}
	add := func(binDir, libDir string) {
		if resolved, err := filepath.EvalSymlinks(binDir); err == nil {
			binDir = resolved
		}
		if seen[binDir] {
			return
		}
		seen[binDir] = true
		if in, err := probe(ctx, binDir, libDir); err == nil {
			found = append(found, in)
		}
	}
	for _, dir := range namedByEnvironment(ctx) {
		add(dir, "")
	}
	for _, pattern := range distributionDirs {
		for _, dir := range newestFirst(pattern) {
			add(dir, "")
		}
	}
	for _, u := range unpacked(toolsDir) {
		add(u.binDir, u.libDir)
	}
	for i := range found {
		lend(&found[i], found)
	}
	return found
}

// namedByEnvironment returns the folders that PG_CONFIG and PATH lead to. A
// pg_config alone may belong to a client library; probe sorts that out.
func namedByEnvironment(ctx context.Context) []string {
	var dirs []string
	if config := os.Getenv("PG_CONFIG"); config != "" {
		if out, err := exec.CommandContext(ctx, config, "--bindir").Output(); err == nil {
			dirs = append(dirs, strings.TrimSpace(string(out)))
		}
	}
	if postgres, err := exec.LookPath("postgres"); err == nil {
		// PATH often holds links into the folder that holds all the programs.
		if resolved, err := filepath.EvalSymlinks(postgres); err == nil {
			dirs = append(dirs, filepath.Dir(resolved))
		}
	}
	return dirs
}

// newestFirst orders by the number in the path, so that 9.6 does not come
// before 15.
func newestFirst(pattern string) []string {
	dirs, _ := filepath.Glob(pattern) // Fails for bad patterns only; ours are constants.
	slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(numberIn(b), numberIn(a)) })
	return dirs
}

// numberIn returns the last number of path, 0 if there is none.
func numberIn(path string) float64 {
	numbers := strings.FieldsFunc(path, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	for _, text := range slices.Backward(numbers) {
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return n
		}
	}
	return 0
}

// probe asks the binaries in binDir for their version.
func probe(ctx context.Context, binDir, libDir string) (Install, error) {
	in := Install{BinDir: binDir, LibDir: libDir}
	for _, name := range []string{"postgres", "initdb"} {
		if !executable(filepath.Join(binDir, name)) {
			return in, fmt.Errorf("%w: no %s in %s", ErrNotFound, name, binDir)
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(binDir, "postgres"), "--version")
	cmd.Env = environment(libDir)
	line, err := output(cmd)
	if err != nil {
		return in, fmt.Errorf("ask for the version: %w", err)
	}
	in.Version, err = ParseVersion(strings.TrimSpace(line))
	if err != nil {
		return in, err
	}
	if in.Version.Major < MinMajor || in.Version.Major > MaxMajor {
		return in, fmt.Errorf("%w: %s holds PostgreSQL %s; walhaven works with majors %d to %d",
			ErrNotFound, binDir, in.Version, MinMajor, MaxMajor)
	}
	return in, nil
}

// lend lets in use the client programs of the others: those of newer majors
// first, since pg_basebackup and pg_receivewal refuse servers newer than they
// are, then of older ones, the nearest first on both sides.
func lend(in *Install, others []Install) {
	order := slices.Clone(others)
	distance := func(o Install) int {
		if d := o.Version.Major - in.Version.Major; d >= 0 {
			return d
		}
		return MaxMajor + in.Version.Major - o.Version.Major
	}
	slices.SortStableFunc(order, func(a, b Install) int { return cmp.Compare(distance(a), distance(b)) })
	in.clients = nil
	for _, o := range order {
		if o.BinDir != in.BinDir {
			in.clients = append(in.clients, client{binDir: o.BinDir, libDir: o.LibDir})
		}
	}
}
