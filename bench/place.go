package bench

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/walhaven/walhaven/compute"
)

// Main runs a program until it is done, or SIGINT or SIGTERM ends it, and exits with 1
// after an error.
func Main(name string, run func(context.Context) error) {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}

// Say writes a line about what is going on to standard error.
func Say(line string) { fmt.Fprintln(os.Stderr, time.Now().Format("15:04:05"), line) }

// Place is where a program works.
type Place struct {
	Install  compute.Install
	Programs string // folder of walhaven's programs
	Dir      string // a new folder, which PostgreSQL's account may enter
}

// Flags defines the flags of a place.
func (p *Place) Flags() {
	flag.StringVar(&p.Programs, "programs", "bin", "folder of walhaven's programs")
	flag.StringVar(&p.Dir, "dir", "", "work in this folder's file system (default: TMPDIR)")
}

// Open finds PostgreSQL, or brings one, and makes the folder, once the flags are parsed.
// The caller removes it.
func (p *Place) Open(ctx context.Context) (remove func(), err error) {
	if p.Programs, err = filepath.Abs(p.Programs); err != nil {
		return nil, err
	}
	want, err := compute.WantFromEnv()
	if err != nil {
		return nil, err
	}
	want.Download, want.Progress = true, Say
	if p.Install, err = compute.Find(ctx, want); err != nil {
		return nil, err
	}
	if p.Dir, err = os.MkdirTemp(p.Dir, "walhaven-bench-"); err != nil {
		return nil, err
	}
	remove = func() { _ = os.RemoveAll(p.Dir) }
	if err := os.Chmod(p.Dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's account has to enter it.
		remove()
		return nil, err
	}
	return remove, nil
}
