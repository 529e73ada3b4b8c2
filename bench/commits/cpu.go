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

// cpuOf is the CPU time that walsenders and receivers have used.
func cpuOf(s system) (sum time.Duration, err error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	receiver := make(map[int]bool)
	for _, pid := range s.receivers() {
		receiver[pid] = true
	}
	for pid, p := range all {
		if p.parent == s.server().PID() && strings.Contains(p.title, "walsender") {
			sum += p.cpu
			continue
		}
		for up := pid; up > 1; up = all[up].parent {
			if receiver[up] {
				sum += p.cpu
				break
			}
		}
	}
	return sum, nil
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
