package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// process is a program of a machine, which may be killed and started again.
type process struct {
	m    machine
	path string
	args []string
	env  []string // NAME=VALUE, added at the next start
	log  string   // file that all its lives write to
	// clock is the file with what its clock differs from ours by.
	clock string

	cmd   *exec.Cmd
	ended chan struct{}
}

// start starts it, unless it runs.
func (p *process) start(n network) error {
	if p.running() {
		return nil
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", p.m, err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(append(os.Environ(), clockVariable+"="+p.clock), p.env...)
	// A file and not a pipe, so that nothing waits for a writer that is stopped.
	if on := n.on(p.m, func() { err = cmd.Start() }); on != nil || err != nil {
		return fmt.Errorf("start %s: %w", p.m, errors.Join(on, err))
	}
	p.cmd = cmd
	ended := make(chan struct{})
	p.ended = ended
	go func() { defer close(ended); _ = cmd.Wait() }()
	return nil
}

func (p *process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// signal sends one to it; one that does not run takes none.
func (p *process) signal(sig syscall.Signal) {
	if p.running() {
		_ = p.cmd.Process.Signal(sig)
	}
}

// kill ends it as the loss of its machine would.
func (p *process) kill() {
	if p.running() {
		p.signal(syscall.SIGKILL)
		<-p.ended
	}
}

// stop ends it in order.
func (p *process) stop() {
	if p.running() {
		p.signal(syscall.SIGTERM)
		<-p.ended
	}
}

// family is a process and all that descend from it, the oldest first.
func family(pid int) []int {
	if pid == 0 {
		return nil
	}
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // The pattern is well formed.
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // It has ended.
		}
		_, rest, found := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
		fields := strings.Fields(rest)
		if !found || len(fields) < 2 {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		children[parent] = append(children[parent], child)
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// signalAll sends sig to each of them that is still there.
func signalAll(pids []int, sig syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig)
	}
}
