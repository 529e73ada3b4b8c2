package main

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/walhaven/walhaven/internal/procstat"
)

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
	all, err := procstat.All()
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
		if p.Parent == s.server().PID() && strings.Contains(p.Title, "walsender") {
			name = "walsender"
		}
		for up := pid; name == "" && up > 1; up = all[up].Parent {
			if receiver[up] {
				name = nameOf(p)
			}
		}
		if name == "" {
			continue
		}
		switches, err := procstat.Switches(pid)
		if err != nil {
			return nil, err
		}
		u := parts[name]
		parts[name] = usage{u.cpu + p.CPU, u.switches + switches}
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

// nameOf is what a receiver is: its program, and the word behind the hidden
// subcommand of walproposer's children.
func nameOf(p procstat.Process) string {
	args := strings.Split(p.Title, "\x00")
	name := filepath.Base(strings.TrimSuffix(strings.Fields(args[0] + " ?")[0], ":"))
	if len(args) > 2 && args[1] == "child-process" {
		return name + " " + args[2]
	}
	return name
}
