package computetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchedVariable says how many processes watch over this one.
const watchedVariable = "WALHAVEN_TEST_WATCHED"

// watchers is how many there are: one may be killed by SIGKILL, which cannot be caught,
// and the other still cleans up.
const watchers = 2

// sweepGrace is how long PostgreSQL may take to shut down at once before it is
// killed, which leaves its shared memory segment behind.
const sweepGrace = 10 * time.Second

// Watch is what a TestMain begins with. It leaves nothing behind however tests end:
// by a signal, by go test's deadline or by their own end. It runs them in another
// process with a temporary folder of its own. When that one has ended, all that it
// or its children started is ended as well, and the folder removed. Who watches is
// watched in the same way. It returns in the innermost process only.
func Watch() {
	watched, _ := strconv.Atoi(os.Getenv(watchedVariable))
	if watched == watchers || slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.fuzz") }) {
		return
	}
	code, err := watch(watched)
	if err != nil {
		fmt.Fprintln(os.Stderr, "watch over the tests:", err)
	}
	os.Exit(code)
}

func watch(watched int) (code int, err error) {
	dir := os.TempDir() // the outer one's
	if watched == 0 {
		if dir, err = os.MkdirTemp("", "wh-"); err != nil { // short: names of sockets are bounded
			return 1, err
		}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL's account has to enter
		return 1, err
	}
	// Whatever loses its parent becomes a child of this process; the tests end with
	// this thread.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, fmt.Errorf("become the subreaper: %w", err)
	}
	runtime.LockOSThread()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", watchedVariable, watched+1), "TMPDIR="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// In a group of its own, so that a signal to our group does not reach both of us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if watched+1 < watchers {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM // it cleans up in our place
	}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0); err != nil {
		return 1, fmt.Errorf("end with the parent: %w", err)
	}
	go func() {
		<-ended
		_ = syscall.Kill(cmd.Process.Pid, syscall.SIGKILL)
	}()
	code, err = reapUntil(cmd.Process.Pid)
	return code, errors.Join(err, sweep())
}

// reapUntil waits for children, adopted ones too, until pid has ended, and returns
// what that one exited with.
func reapUntil(pid int) (int, error) {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait for the tests: %w", err)
		case got == pid && status.Exited():
			return status.ExitStatus(), nil
		case got == pid:
			return 1, nil
		}
	}
}

// sweep ends all children; theirs become ours when they are gone.
func sweep() error {
	deadline := time.Now().Add(sweepGrace)
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	for {
		for {
			got, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.ECHILD) {
				return nil
			}
			if got <= 0 {
				break
			}
		}
		if time.Now().After(deadline.Add(sweepGrace)) {
			return fmt.Errorf("children do not end: %v", children())
		}
		for _, pid := range children() {
			sig := syscall.SIGKILL
			if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(name) == "postgres\n" && time.Now().Before(deadline) {
				sig = syscall.SIGQUIT
			}
			_ = syscall.Kill(pid, sig)
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		select {
		case <-died:
		case <-time.After(sweepGrace / 10):
		}
	}
}

// children lists the processes whose parent is this one.
func children() (out []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // gone
		}
		// pid (comm) state ppid; comm may hold anything.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			out = append(out, pid)
		}
	}
	return out
}
