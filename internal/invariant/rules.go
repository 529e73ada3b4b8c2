//go:build invariants || race

package invariant

import (
	"fmt"
	"strconv"
	"strings"
)

// environment names the variable that a real process takes its rules from.
const environment = "WALHAVEN_FAILPOINTS"

type action string

const (
	actionKill  action = "kill"
	actionStop  action = "stop"
	actionError action = "error"
)

// rule is one entry of the environment's list; nth 0 means at each pass.
type rule struct {
	nth    int
	action action
}

// parseRules reads a list of name[@n]=action.
func parseRules(list string) (map[string][]rule, error) {
	rules := map[string][]rule{}
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		name, r, err := parseRule(entry)
		if err != nil {
			return nil, err
		}
		rules[name] = append(rules[name], r)
	}
	return rules, nil
}

func parseRule(entry string) (name string, r rule, err error) {
	point, act, found := strings.Cut(entry, "=")
	if !found {
		return "", r, fmt.Errorf("%q has no action: want name[@n]=kill|stop|error", entry)
	}
	name, nth, counted := strings.Cut(point, "@")
	if name == "" {
		return "", r, fmt.Errorf("%q names no fail point", entry)
	}
	if counted {
		r.nth, err = strconv.Atoi(nth)
		if err != nil || r.nth < 1 {
			return "", r, fmt.Errorf("%q: %q is no positive number", entry, nth)
		}
	}
	switch r.action = action(act); r.action {
	case actionKill, actionStop, actionError:
		return name, r, nil
	default:
		return "", r, fmt.Errorf("%q: unknown action %q: want kill, stop or error", entry, act)
	}
}
