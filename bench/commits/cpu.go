package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks is the unit of times in /proc, a second's worth on every Linux.
const ticks = 100

type process struct {
	parent int
	title  string
	cpu    time.Duration // with its dead children's
}

// usage is what processes have used.
type usage struct {
	cpu time.Duration
	// switches are those of threads that had to wait: unlike time they do not depend
	// much on what else the machine does.
	switches int64
}

func (u usage) minus(o usage) usage { return usage{u.cpu - o.cpu, u.switches - o.switches} }

// usageOf is what walsenders and receivers have used, by what they are.
func usageOf(s system) (map[string]usage, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	receiver := make(map[int]bool)
	for _, pid := range s.receivers() {
		receiver[pid] = true
	}
	parts := map[string]usage{}
	for pid, p := range all {
		name := ""
		if p.parent == s.server().PID() && strings.Contains(p.title, "walsender") {
			name = "walsender"
		}
		for up := pid; name == "" && up > 1; up = all[up].parent {
			if receiver[up] {
				name = p.name()
			}
		}
		if name == "" {
			continue
		}
		switches, err := switchesOf(pid)
		if err != nil {
			return nil, err
		}
		u := parts[name]
		parts[name] = usage{u.cpu + p.cpu, u.switches + switches}
	}
	return parts, nil
}

func sum(parts map[string]usage) (all usage) {
	for _, u := range parts {
		all.cpu += u.cpu
		all.switches += u.switches
	}
	return all
}

// name is what a receiver is: its program, and the word behind the hidden
// subcommand of walproposer's children.
func (p process) name() string {
	args := strings.Split(p.title, "\x00")
	name := filepath.Base(strings.TrimSuffix(strings.Fields(args[0] + " ?")[0], ":"))
	if len(args) > 2 && args[1] == "child-process" {
		return name + " " + args[2]
	}
	return name
}

// switchesOf counts how often threads of a process have waited.
func switchesOf(pid int) (n int64, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/status", pid))
	if err != nil {
		return 0, err
	}
	for _, name := range tasks {
		status, err := os.ReadFile(name)
		if err != nil {
			continue // It has ended.
		}
		_, rest, ok := bytes.Cut(status, []byte("\nvoluntary_ctxt_switches:"))
		if !ok {
			return 0, fmt.Errorf("%s: no voluntary_ctxt_switches", name)
		}
		one, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		n += one
	}
	return n, nil
}

// processes reads /proc. Processes that end meanwhile are left out.
func processes() (map[int]process, error) {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	all := make(map[int]process, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(name, "stat"))
		if errors.Is(err, os.ErrNotExist) || err != nil {
			continue
		}
		title, err := os.ReadFile(filepath.Join(name, "cmdline"))
		if err != nil {
			continue
		}
		p, err := parseStat(stat)
		if err != nil {
			return nil, err
		}
		p.title = string(title)
		all[pid] = p
	}
	return all, nil
}

// parseStat reads proc(5)'s stat: the name may hold anything, blanks and
// brackets too.
func parseStat(stat []byte) (p process, err error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 15 {
		return p, fmt.Errorf("/proc: cannot read %q", stat)
	}
	if p.parent, err = strconv.Atoi(fields[1]); err != nil {
		return p, fmt.Errorf("/proc: %w", err)
	}
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return p, fmt.Errorf("/proc: %w", err)
		}
		p.cpu += time.Duration(n) * time.Second / ticks
	}
	return p, nil
}
