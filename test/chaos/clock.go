package chaos

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clock shifts what PostgreSQL servers, which read the time by way of libc, take
// for the time.
type clock struct {
	t       testing.TB
	library string
	dir     string // of a file a machine, with its nanoseconds
}

// newClock builds the library that does it; nil where there is no C compiler.
func newClock(t testing.TB, dir string) *clock {
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Logf("PostgreSQL's clock is not stepped: %v", err)
		return nil
	}
	c := &clock{t: t, library: filepath.Join(dir, "clock.so"), dir: dir}
	out, err := exec.Command(compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", c.library, "testdata/clock.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return c
}

func (c *clock) file(m machine) string { return filepath.Join(c.dir, m.String()+".clock") }

// preload makes programs that are started until undo is called have the clock of
// m.
func (c *clock) preload(m machine) (undo func()) {
	if c == nil {
		return func() {}
	}
	if _, err := os.Stat(c.file(m)); err != nil {
		c.set(m, 0)
	}
	for name, value := range map[string]string{"LD_PRELOAD": c.library, "WALHAVEN_CHAOS_CLOCK": c.file(m)} {
		require.NoError(c.t, os.Setenv(name, value)) //nolint:usetesting // Undone long before the test ends.
	}
	return func() {
		require.NoError(c.t, os.Unsetenv("LD_PRELOAD"))
	}
}

// set makes the clock of m differ from ours by d.
func (c *clock) set(m machine, d time.Duration) {
	f, err := os.OpenFile(c.file(m), os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(c.t, err)
	_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(d)), 0)
	require.NoError(c.t, err)
	require.NoError(c.t, f.Close())
}
