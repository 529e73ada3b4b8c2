package operator

import (
	"fmt"
	"strconv"
	"strings"
)

// standbyList is a value of synchronous_standby_names.
type standbyList struct {
	any   bool // ANY: a quorum; else FIRST: by priority
	count int  // how many of the names a commit waits for
	names []string
}

// parseStandbyNames reads synchronous_standby_names: a list of names, or
// [FIRST] n (list), or ANY n (list). PostgreSQL has accepted it, so what is not
// understood here is only an error of ours.
func parseStandbyNames(value string) (l standbyList, err error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return l, nil
	}
	l.count = 1
	if list, found := strings.CutSuffix(value, ")"); found {
		head, inner, found := strings.Cut(list, "(")
		if !found {
			return l, fmt.Errorf("synchronous_standby_names %q: ( is missing", value)
		}
		words := strings.Fields(head)
		if len(words) == 2 {
			l.any = strings.EqualFold(words[0], "any")
			words = words[1:]
		}
		if len(words) != 1 {
			return l, fmt.Errorf("synchronous_standby_names %q: unknown form", value)
		}
		if l.count, err = strconv.Atoi(words[0]); err != nil {
			return l, fmt.Errorf("synchronous_standby_names %q: %w", value, err)
		}
		value = inner
	}
	for rest := value; ; {
		var name string
		name, rest = standbyNameAt(rest)
		l.names = append(l.names, name)
		if rest == "" {
			return l, nil
		}
	}
}

// standbyNameAt takes one name off the front of a list.
func standbyNameAt(s string) (name, rest string) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, `"`) {
		name, rest, _ = strings.Cut(s, ",")
		return strings.TrimSpace(name), rest
	}
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			i++
			continue
		}
		_, rest, _ = strings.Cut(s[i+1:], ",")
		return strings.ReplaceAll(s[1:i], `""`, `"`), rest
	}
	return strings.TrimPrefix(s, `"`), ""
}

// has says whether a name is listed; PostgreSQL compares without regard to case.
func (l standbyList) has(name string) bool {
	for _, n := range l.names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// needsQuorum says whether no commit can do without the walproposer: PostgreSQL
// waits for the first count names that are connected, or any count of them.
func (l standbyList) needsQuorum() bool { return l.has(standbyName) && l.count >= len(l.names) }

// withAll is a value that waits for walhaven and for every other name.
func (l standbyList) withAll() string {
	names := []string{standbyName}
	for _, n := range l.names {
		if !strings.EqualFold(n, standbyName) {
			names = append(names, quoteStandbyName(n))
		}
	}
	return fmt.Sprintf("FIRST %d (%s)", len(names), strings.Join(names, ", "))
}

func quoteStandbyName(n string) string {
	if strings.Trim(n, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == "" && n != "" &&
		!strings.EqualFold(n, "any") && !strings.EqualFold(n, "first") && (n[0] < '0' || n[0] > '9') {
		return n
	}
	return `"` + strings.ReplaceAll(n, `"`, `""`) + `"`
}

// Managers of PostgreSQL that write its settings themselves.
const (
	managedByPatroni = "patroni"
	managedByCNPG    = "cloudnativepg"
)

// lineToChoose is what to tell an operator whose synchronous_standby_names is
// not ours to change: because others are named there, or because a manager
// writes it.
func lineToChoose(manager, value, source string) string {
	l, err := parseStandbyNames(value)
	var b strings.Builder
	switch {
	case err != nil || len(l.names) > 0:
		fmt.Fprintf(&b, "synchronous_standby_names is '%s' (%s) and stays as it is: commits do not wait for the quorum yet.\n", value, source)
	default:
		fmt.Fprintf(&b, "synchronous_standby_names is empty and %s writes it: commits do not wait for the quorum yet.\n", manager)
	}
	switch manager {
	case managedByPatroni:
		b.WriteString("Choose it for Patroni, with synchronous_mode off (patronictl edit-config), and keep Patroni from dropping the slot:\n" +
			"  ignore_slots:\n  - name: " + defaultSlot + "\n    type: physical\n" +
			"  postgresql:\n    parameters:\n      synchronous_standby_names: '" + standbyName + "'\n")
	case managedByCNPG:
		b.WriteString("Choose it in the Cluster's manifest (CloudNativePG 1.24 or newer):\n" +
			"  spec:\n    postgresql:\n      synchronous:\n        method: first\n        number: 1\n" +
			"        maxStandbyNamesFromCluster: 0\n        standbyNamesPre: [" + standbyName + "]\n")
	default:
		b.WriteString("Choose one of these lines where it is set, and reload:\n" +
			"  synchronous_standby_names = '" + standbyName + "'    # commits wait for the quorum\n" +
			"  synchronous_standby_names = '" + l.withAll() + "'    # and for each of the others\n" +
			"With ANY, or a smaller number than there are names, commits can return that the quorum lacks.\n")
	}
	return b.String()
}
