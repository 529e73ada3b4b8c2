package chaos

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clockVariable names, in the environment of a program, the file with the
// nanoseconds by which its machine's clock differs from ours.
const clockVariable = "WALHAVEN_CHAOS_CLOCK"

// goClocksVariable is set when the programs are built so that they have their
// machine's clock.
const goClocksVariable = "WALHAVEN_CHAOS_GO_CLOCKS"

// clock shifts what the programs of a machine take for the time.
type clock struct {
	t        testing.TB
	dir      string // of a file a machine
	library  string // by which PostgreSQL servers, which ask libc for the time, have it; empty: they do not
	programs bool   // whether ours have it, too
}

// newClock builds the library, where there is a C compiler.
func newClock(t testing.TB, dir string) *clock {
	c := &clock{t: t, dir: dir, programs: os.Getenv(goClocksVariable) != ""}
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Logf("PostgreSQL's clock is not stepped: %v", err)
		return c
	}
	c.library = filepath.Join(dir, "clock.so")
	out, err := exec.Command(compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", c.library, "testdata/clock.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return c
}

// file is that of m; it exists afterwards.
func (c *clock) file(m machine) string {
	name := filepath.Join(c.dir, m.String()+".clock")
	if _, err := os.Stat(name); err != nil {
		c.write(name, 0)
	}
	return name
}

// preload makes programs that are started until undo is called have the clock of
// m.
func (c *clock) preload(m machine) (undo func()) {
	variables := map[string]string{clockVariable: c.file(m)}
	if c.library != "" {
		variables["LD_PRELOAD"] = c.library
	}
	for name, value := range variables {
		require.NoError(c.t, os.Setenv(name, value)) //nolint:usetesting // Undone long before the test ends.
	}
	return func() {
		for name := range variables {
			require.NoError(c.t, os.Unsetenv(name))
		}
	}
}

// set makes the clock of m differ from ours by d.
func (c *clock) set(m machine, d time.Duration) { c.write(c.file(m), d) }

func (c *clock) write(name string, d time.Duration) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(c.t, err)
	_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(d)), 0)
	require.NoError(c.t, err)
	require.NoError(c.t, f.Close())
}

// stepGoClocks makes programs that are built from now on take the time from their
// machine's clock: with a package time that adds the offset. Building the standard
// library anew takes a minute or two, so only long runs have it.
func stepGoClocks(dir string) error {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("find the Go toolchain: %w", err)
	}
	library := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(library, "time.go"))
	if err != nil {
		return fmt.Errorf("read package time: %w", err)
	}
	const read = "\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), read) != 1 {
		return errors.New("time.Now of this Go toolchain is another than expected")
	}
	mended := filepath.Join(dir, "time.go")
	text := strings.Replace(string(source), read, read+"\tsec, nsec = stepped(sec, nsec)\n", 1)
	if err := os.WriteFile(mended, []byte(text), 0o644); err != nil {
		return err
	}
	stepped, err := filepath.Abs("testdata/steppedclock.go")
	if err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(library, "time.go"):    mended,
		filepath.Join(library, "stepped.go"): stepped,
	}})
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, overlay, 0o644); err != nil {
		return err
	}
	return errors.Join(os.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" -overlay="+name), os.Setenv(goClocksVariable, "yes"))
}
