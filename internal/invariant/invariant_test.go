package invariant_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/invariant"
)

// TestMain lets the test binary play the process that a fail point ends.
func TestMain(m *testing.M) {
	if os.Getenv("INVARIANT_TEST_CHILD") != "" {
		invariant.Point("child/step")
		invariant.Point("child/step")
		if err := invariant.PointErr("child/store"); err != nil {
			os.Exit(7)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, failpoints string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(filepath.Clean(self))
	cmd.Env = append(os.Environ(), "INVARIANT_TEST_CHILD=1", "WALHAVEN_FAILPOINTS="+failpoints)
	return cmd
}

func TestReleaseBuildIgnoresFailPoints(t *testing.T) {
	if invariant.Enabled {
		t.Skip("this build has fail points")
	}
	require.NoError(t, child(t, "child/step@1=kill,child/store=error,nonsense").Run())
	require.Empty(t, invariant.Hits())
	require.NotPanics(t, func() { invariant.Assert(false, "not compiled in") })
	require.False(t, invariant.Sometimes(100))
}

func TestEnvironmentKillsAtTheNthPass(t *testing.T) {
	invariant.Require(t)
	err := child(t, "child/step@2=kill").Run()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())

	require.NoError(t, child(t, "child/step@3=kill").Run(), "the point is passed only twice")
}

func TestEnvironmentInjectsErrors(t *testing.T) {
	invariant.Require(t)
	err := child(t, "child/step=error,child/store@1=error").Run()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.ExitCode())
}

func TestUnreadableEnvironmentEndsTheProcess(t *testing.T) {
	invariant.Require(t)
	for _, list := range []string{"child/step", "child/step=explode", "=kill", "child/step@0=kill", "child/step@x=kill"} {
		err := child(t, list).Run()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, list)
		require.Equal(t, 2, exit.ExitCode(), list)
	}
}

func TestHooksCountFromTheirOwnBeginning(t *testing.T) {
	invariant.Require(t)
	before := invariant.Hits()["hook/point"]
	invariant.Point("hook/point")
	var seen []int
	t.Run("inner", func(t *testing.T) {
		invariant.OnPoint(t, "hook/point", func(n int) { seen = append(seen, n) })
		invariant.Point("hook/point")
		invariant.Point("hook/point")
	})
	invariant.Point("hook/point")
	require.Equal(t, []int{1, 2}, seen, "the hook ends with its test")
	require.Equal(t, before+4, invariant.Hits()["hook/point"])
}

func TestHookReturnsAnError(t *testing.T) {
	invariant.Require(t)
	boom := errors.New("boom")
	invariant.OnPointErr(t, "hook/err", func(n int) error {
		if n == 2 {
			return boom
		}
		return nil
	})
	require.NoError(t, invariant.PointErr("hook/err"))
	require.ErrorIs(t, invariant.PointErr("hook/err"), boom)
	require.NoError(t, invariant.PointErr("hook/err"))
}

func TestAssertAndPoison(t *testing.T) {
	invariant.Require(t)
	require.PanicsWithValue(t, "invariant broken: no", func() { invariant.Assert(false, "no") })
	require.NotPanics(t, func() { invariant.Assert(true, "no") })
	b := []byte("abc")
	invariant.Poison(b)
	require.Equal(t, []byte{0xDB, 0xDB, 0xDB}, b)
	require.True(t, invariant.Sometimes(100))
	require.False(t, invariant.Sometimes(0))
}
