package compute

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrNoTool is in the chain of errors about a tool that an [Install] lacks.
var ErrNoTool = errors.New("tool is not installed")

// Install is one set of PostgreSQL binaries on this machine. The zero value is
// not usable; [Find] and [FindAll] make it.
type Install struct {
	Version Version
	BinDir  string // Holds at least postgres and initdb.
	// LibDir, if not empty, is put into LD_LIBRARY_PATH: the shared libraries
	// that were unpacked beside the binaries.
	LibDir string
	// clients are the folders of other installs whose client programs are used
	// where this one has none, best first.
	clients []client
}

type client struct{ binDir, libDir string }

// borrowable are the programs that work against servers of other majors.
// pg_waldump, pg_controldata and the like read one major's files only.
var borrowable = map[string]bool{
	"psql": true, "pgbench": true, "pg_isready": true, "pg_basebackup": true,
	"pg_receivewal": true, "pg_recvlogical": true, "pg_dump": true,
	"pg_verifybackup": true, "createdb": true,
}

// Tool returns the path of the program name: this install's own, or for client
// programs that of the nearest other major. The error wraps [ErrNoTool].
func (in Install) Tool(name string) (string, error) {
	path, _, err := in.tool(name)
	return path, err
}

func (in Install) tool(name string) (path, libDir string, err error) {
	own := filepath.Join(in.BinDir, name)
	if executable(own) {
		return own, in.LibDir, nil
	}
	if borrowable[name] {
		for _, c := range in.clients {
			if path := filepath.Join(c.binDir, name); executable(path) {
				return path, c.libDir, nil
			}
		}
	}
	return "", "", fmt.Errorf("find %s of PostgreSQL %d in %s: %w", name, in.Version.Major, in.BinDir, ErrNoTool)
}

// Command prepares the program name with args. It runs as the account that
// servers run as, in a clean environment (no PG* variables of ours, C locale),
// and is sent SIGTERM when ctx ends.
func (in Install) Command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	path, libDir, err := in.tool(name)
	if err != nil {
		return nil, err
	}
	a, err := account()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = environment(libDir)
	cmd.Dir = "/" // Where we are may be closed to the other account.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = toolGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.Credential(), Setpgid: true, Pdeathsig: syscall.SIGTERM}
	return cmd, nil
}

// run runs the tool and returns what it printed; errors carry its last words.
func (in Install) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd, err := in.Command(ctx, name, args...)
	if err != nil {
		return "", err
	}
	return output(cmd)
}

// output runs cmd and returns its standard output; an error carries the end of
// its standard error.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := lastLines(stderr.String())
		if said == "" {
			said = lastLines(stdout.String())
		}
		return stdout.String(), fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, said)
	}
	return stdout.String(), nil
}

// environment is ours without what would change a tool's behaviour or point
// into a home folder that the other account cannot read.
func environment(libDir string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "PG"), strings.HasPrefix(name, "LC_"), strings.HasPrefix(name, "XDG_"):
		case name == "LANG", name == "LANGUAGE", name == "HOME", name == "LD_LIBRARY_PATH" && libDir != "":
		default:
			env = append(env, kv)
		}
	}
	env = append(env, "LC_ALL=C", "HOME=/nonexistent")
	if libDir != "" {
		env = append(env, "LD_LIBRARY_PATH="+libDir)
	}
	return env
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// lastLines returns what is worth quoting of a program's output.
func lastLines(s string) string {
	const n = 20
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
