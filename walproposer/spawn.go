package walproposer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/internal/seqpacket"
)

// childWord is the hidden subcommand, followed by what the child is.
const childWord = "child-process"

// Kinds of children.
const (
	childTap  = "tap"
	childPush = "push"
)

// spawner starts processes from one thread: PDEATHSIG kills a child when the
// thread that started it ends, so that one has to stay as long as the program.
type spawner struct {
	work chan func()
	done chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{work: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		// Unlocked at the end, when the children are gone: a thread that ended would
		// take along what other parts of the program had started from it before.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for f := range s.work {
			f()
		}
	}()
	return s
}

// close gives the thread back.
func (s *spawner) close() {
	close(s.work)
	<-s.done
}

// spawn starts a child with the descriptors files behind its control pair.
// env are further variables.
func (s *spawner) spawn(args []string, first bool, files ...*os.File) (*exec.Cmd, *seqpacket.Conn, error) {
	control, theirs, err := seqpacket.Pair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	// The running program, even if another version lies under its name by now.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{os.Args[0], childWord}, args...)
	cmd.Env = childEnvironment(os.Environ(), first)
	if args[0] == childPush {
		cmd.Env = withoutSecrets(cmd.Env)
	}
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = append([]*os.File{theirs}, files...)
	// A group of its own: what a terminal or a shell sends to the supervisor's is
	// the supervisor's to act on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error, 1)
	s.work <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start %s: %w", strings.Join(args, " "), err), control.Close())
	}
	return cmd, control, nil
}

// withoutSecrets leaves out what may hold a password: a push worker gets its
// logins one by one, and its settings by message.
func withoutSecrets(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		return strings.HasPrefix(v, "PGPASSWORD=") || strings.HasPrefix(v, "WALHAVEN_WALPROPOSER_")
	})
}

// failpoints is the variable by which tests have a process die; a child that is
// started again is not to die the same way.
const failpoints = "WALHAVEN_FAILPOINTS="

func childEnvironment(env []string, first bool) []string {
	if !invariant.Enabled || first {
		return env
	}
	var out []string
	for _, v := range env {
		if !strings.HasPrefix(v, failpoints) {
			out = append(out, v)
		}
	}
	return out
}
