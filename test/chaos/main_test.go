package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/test/cluster"
)

// networkVariable set to proxy does without namespaces.
const networkVariable = "WALHAVEN_CHAOS_NETWORK"

// errNoNamespaces is why there are none.
var errNoNamespaces = errors.New(networkVariable + " says so")

// TestMain runs the tests in namespaces of their own where that is permitted.
func TestMain(m *testing.M) {
	computetest.Watch()
	inside := os.Getenv(insideVariable) != ""
	if !inside && os.Getenv(timeVariable) != "" {
		stepClocks()
	}
	if !inside && os.Getenv(networkVariable) != "proxy" {
		if errNoNamespaces = namespacesPermitted(); errNoNamespaces == nil {
			os.Exit(runInside())
		}
	}
	code := m.Run()
	cluster.RemovePrograms()
	os.Exit(code)
}

// stepClocks has the programs built with clocks that can be stepped; what it needs
// for that goes with Watch's folder.
func stepClocks() {
	dir, err := os.MkdirTemp("", "clocks-")
	if err == nil {
		err = stepGoClocks(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the clocks of our own programs are not stepped:", err)
	}
}

// runInside runs this test binary again. What has to be built is built before:
// there is no other network inside.
func runInside() int {
	defer cluster.RemovePrograms()
	programs, err := cluster.BuildPrograms()
	if err == nil {
		// The child is to end with this thread.
		runtime.LockOSThread()
		cmd := exec.Command(os.Args[0], os.Args[1:]...)
		cmd.Env = append(os.Environ(), insideVariable+"=1", cluster.ProgramsVariable+"="+programs)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = namespaceAttributes()
		err = cmd.Run()
	}
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		return max(1, ended.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "run the tests in namespaces: "+err.Error())
		return 1
	}
	return 0
}

// newNetwork returns the best network that this machine permits.
func newNetwork(t *testing.T) network {
	if os.Getenv(insideVariable) != "" {
		n, err := newNamespaces()
		require.NoError(t, err)
		return n
	}
	t.Logf("no network namespaces: %v", errNoNamespaces)
	p := newProxies()
	t.Cleanup(p.close)
	return p
}
