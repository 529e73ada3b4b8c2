// Command mutants shows that the tests guard what they claim to guard. Each
// *.patch beside it removes one protection; the patch's header names the
// protection and the test that must then fail:
//
//	# protects: the vote is persisted before the answer leaves
//	# test: ./replication/consensus -run TestVotePersistedFirst
//	# tags: invariants            (optional)
//
// The tree is copied, each patch applied to the copy in turn, and its test
// run with and without it. It prints a table and fails when a test passes
// without its protection, does not run, does not build, or fails with it.
//
//	go run ./test/mutants [-run REGEXP]
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	only := flag.String("run", "", "only the patches whose name matches")
	flag.Parse()
	// What this thread starts ends with it, and it ends with go run, which passes on
	// no signal that was sent to it alone.
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0) // without it the run goes on
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, *only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	mutants, err := load("test/mutants", match)
	if err != nil {
		return err
	}
	tree, err := copyTree(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree) //nolint:errcheck // A copy among the temporary files.
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PROTECTION\tPATCH\tTEST\tWITHOUT IT")
	bad := 0
	whole := make(map[string]string)
	for i, m := range mutants {
		verdict := m.try(ctx, tree, whole)
		fmt.Fprintf(os.Stderr, "%d/%d %s: %s\n", i+1, len(mutants), m.name, verdict)
		if verdict != caught {
			bad++
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", m.protects, m.name, strings.Join(m.test, " "), verdict)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Printf("%d of %d protections are guarded\n", len(mutants)-bad, len(mutants))
	if bad > 0 || ctx.Err() != nil {
		return fmt.Errorf("%d rows without a failing test", bad)
	}
	return nil
}

// mutant is one patch with its header.
type mutant struct {
	name     string
	path     string
	protects string
	test     []string // arguments of go test
}

// load reads the headers of the patches in dir.
func load(dir string, match *regexp.Regexp) ([]mutant, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	var all []mutant
	for _, path := range paths {
		m := mutant{name: strings.TrimSuffix(filepath.Base(path), ".patch")}
		if !match.MatchString(m.name) {
			continue
		}
		if m.path, err = filepath.Abs(path); err != nil {
			return nil, err
		}
		if err := m.readHeader(); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no patches match")
	}
	return all, nil
}

func (m *mutant) readHeader() error {
	f, err := os.Open(m.path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // Only read.
	lines := bufio.NewScanner(f)
	for lines.Scan() && strings.HasPrefix(lines.Text(), "#") {
		key, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "#"), ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "protects":
			m.protects = value
		case "test":
			m.test = append(m.test, strings.Fields(value)...)
		case "tags":
			m.test = append(m.test, "-tags", value)
		}
	}
	if m.protects == "" || len(m.test) == 0 {
		return fmt.Errorf("%s: the header lacks '# protects:' or '# test:'", m.path)
	}
	return lines.Err()
}

// caught is the only good verdict.
const caught = "test fails"

// try runs the test, applies the patch, runs the test again and takes the patch
// back. What the tests said with every protection in place is kept in whole, by
// their arguments: many rows share one.
func (m *mutant) try(ctx context.Context, tree string, whole map[string]string) string {
	key := strings.Join(m.test, " ")
	verdict, known := whole[key]
	if !known {
		verdict = m.tryWhole(ctx, tree)
		whole[key] = verdict
	}
	if verdict != "" {
		return verdict
	}
	if out, err := command(ctx, tree, "patch", "-p1", "--forward", "--silent", "-i", m.path); err != nil {
		return "PATCH DOES NOT APPLY: " + lastLine(out)
	}
	defer command(context.WithoutCancel(ctx), tree, "patch", "-p1", "--reverse", "--silent", "-i", m.path) //nolint:errcheck // The next patch says so.
	out, err := m.run(ctx, tree)
	switch {
	case ctx.Err() != nil:
		return "INTERRUPTED"
	case err == nil:
		return "TEST PASSES"
	case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
		return "DOES NOT BUILD"
	}
	return caught
}

// tryWhole runs the test with every protection in place: empty when it passes.
func (m *mutant) tryWhole(ctx context.Context, tree string) string {
	out, err := m.run(ctx, tree)
	switch {
	case ctx.Err() != nil:
		return "INTERRUPTED"
	case err != nil:
		return "TEST FAILS ANYHOW: " + lastLine(out)
	case strings.Contains(out, "no tests to run") || !strings.Contains(out, "ok"):
		return "TEST DOES NOT EXIST"
	}
	return ""
}

func (m *mutant) run(ctx context.Context, tree string) (string, error) {
	return command(ctx, tree, "go", append([]string{"test", "-count=1", "-vet=off"}, m.test...)...)
}

// cleanUpTimeout is how long a test that was interrupted may take to end.
const cleanUpTimeout = time.Minute

// copyTree copies what git knows of the working tree into a temporary folder.
func copyTree(ctx context.Context) (string, error) {
	tree, err := os.MkdirTemp("", "walhaven-mutants-")
	if err != nil {
		return "", err
	}
	// Other accounts must be able to enter it: PostgreSQL does not run as root.
	if err := os.Chmod(tree, 0o755); err != nil {
		return "", err
	}
	out, err := command(ctx, ".", "sh", "-c", `git ls-files -co --exclude-standard | tar -cf - -T - | tar -xf - -C "$1"`, "sh", tree)
	if err != nil {
		return "", fmt.Errorf("copy the tree: %w: %s", err, out)
	}
	return tree, nil
}

// command runs a program in a process group of its own and returns what it says. When
// ctx ends the group is interrupted: go test then waits for its test, which ends what
// it has started (computetest.Watch). When this process is killed the program ends,
// and so does the test.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = cleanUpTimeout
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}
