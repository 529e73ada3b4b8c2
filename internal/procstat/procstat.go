package procstat

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

// Process is one process at one moment.
type Process struct {
	// Ended says that it only waits to be reaped. One with threads left still
	// holds its ports and locks and has not ended.
	Ended   bool
	Parent  int
	Title   string        // of All: arguments, each followed by a zero byte, or what it calls itself
	CPU     time.Duration // user and system, with its dead children's
	Started uint64        // in ticks since the machine's start
}

// Find reads one process. The error is one of package fs when there is none of
// that ID, or when this user may not know.
func Find(pid int) (Process, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return Process{}, err
	}
	return parseStat(stat)
}

// Runs says whether there is a process of that ID that has not ended.
func Runs(pid int) bool {
	p, err := Find(pid)
	return err == nil && !p.Ended
}

// Children returns the processes whose parent is pid.
func Children(pid int) (children []int, err error) {
	all, err := All()
	for child, p := range all {
		if p.Parent == pid {
			children = append(children, child)
		}
	}
	return children, err
}

// All returns the processes that there are, by process ID. Those that end
// meanwhile are left out.
func All() (map[int]Process, error) {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	all := make(map[int]Process, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			continue
		}
		p, err := Find(pid)
		if errors.Is(err, errStat) {
			return nil, err
		}
		title, titleErr := os.ReadFile(filepath.Join(name, "cmdline"))
		if err == nil && titleErr == nil {
			p.Title = string(title)
			all[pid] = p
		}
	}
	return all, nil
}

// CPU is what a process and all that descend from it have used.
func CPU(pid int) (time.Duration, error) {
	all, err := All()
	if err != nil {
		return 0, err
	}
	if _, ok := all[pid]; !ok {
		return 0, fmt.Errorf("/proc: no process %d", pid)
	}
	var sum time.Duration
	for child, p := range all {
		for up := child; up > 1; up = all[up].Parent {
			if up == pid {
				sum += p.CPU
				break
			}
		}
	}
	return sum, nil
}

// PeakMemory is the most that was resident of a process, in bytes (VmHWM).
func PeakMemory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	n, err := number(status, "VmHWM")
	return n << 10, err
}

// Switches counts how often threads of a process have waited; one that has ended
// meanwhile counts for nothing.
func Switches(pid int) (n int64, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/status", pid))
	if err != nil {
		return 0, err
	}
	for _, name := range tasks {
		status, err := os.ReadFile(name)
		if err != nil {
			continue // It has ended.
		}
		one, err := number(status, "voluntary_ctxt_switches")
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		n += one
	}
	return n, nil
}

// number is that of a line of a status file.
func number(status []byte, name string) (int64, error) {
	_, rest, ok := bytes.Cut(status, []byte("\n"+name+":"))
	fields := bytes.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, fmt.Errorf("no %s", name)
	}
	return strconv.ParseInt(string(fields[0]), 10, 64)
}

var errStat = errors.New("/proc: cannot read stat")

// parseStat reads proc(5)'s stat: the name may hold anything, blanks and
// brackets too.
func parseStat(stat []byte) (p Process, err error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return p, fmt.Errorf("%w: %q", errStat, stat)
	}
	// The number of threads is of the same moment as the state; a listing of the threads
	// stops early when one of them ends meanwhile.
	p.Ended = (fields[0] == "Z" || fields[0] == "X") && (fields[17] == "0" || fields[17] == "1")
	if p.Parent, err = strconv.Atoi(fields[1]); err != nil {
		return p, fmt.Errorf("%w: %w", errStat, err)
	}
	if p.Started, err = strconv.ParseUint(fields[19], 10, 64); err != nil {
		return p, fmt.Errorf("%w: %w", errStat, err)
	}
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return p, fmt.Errorf("%w: %w", errStat, err)
		}
		p.CPU += time.Duration(n) * time.Second / ticks
	}
	return p, nil
}
