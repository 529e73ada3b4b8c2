package walproposer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/walhaven/walhaven/replication"
)

// maxLapses bounds how many values one interval tells of.
const maxLapses = 3

// lapses judges what PostgreSQL's log says of the settings between two looks: it finds
// times in which commits did not wait for the quorum and that the looks did not see.
type lapses struct {
	names, level knownSetting
	fresh        bool     // there was a line since the last look
	known        bool     // the time at hand is in the ledger already
	open         []string // what settings were, as long as one of them is unsafe
	over         []string // and before
}

// knownSetting is what lines and looks say of one setting.
type knownSetting struct {
	unsafe string // what it was, or is; "" = well
	value  string // by the last line or look
	// settled is the value that two looks in a row had, with no line in between.
	settled string
}

// line takes a change. A value that it had already, as far as anybody knew, tells that it
// had another one: the server was started with that, which is in no line.
func (k *knownSetting) line(c change, standbys [][]string) (was string) {
	was = c.unsafe(standbys...)
	k.unsafe = was
	if was == "" && c.value == k.settled && !c.removed {
		was = c.name + " was not '" + c.shown() + "'"
	}
	k.value, k.settled = c.value, ""
	return was
}

// looked takes what a look says; fresh, that there was a line since the one before.
func (k *knownSetting) looked(value string, fresh bool) {
	k.settled = ""
	if value == k.value && !fresh {
		k.settled = value
	}
	k.value = value
}

// line takes a change; standbys are who is connected, by the looks before and after it.
func (l *lapses) line(c change, standbys ...[]string) {
	k := &l.names
	if c.name == settingLevel {
		k = &l.level
	}
	l.fresh = true
	if was := k.line(c, standbys); was != "" && !l.known {
		l.open = together(l.open, []string{was})
	}
	if l.names.unsafe == "" && l.level.unsafe == "" {
		l.over, l.open, l.known = together(l.over, l.open), nil, false
	}
}

// looked takes what PostgreSQL said before the last lines were read, and returns what
// the ledger lacks. Covered says that the ledger has an interval that goes on and began
// before the first of these lines; behind, that there are more.
func (l *lapses) looked(row replication.Row, covered, behind bool) (was []string) {
	names, level := unprotectedParts(row)
	safe, fresh := names == "" && level == "", l.fresh
	l.fresh = false
	if safe && l.names.unsafe != "" && l.names.value == row["names"] { // the look knows better who acknowledges
		l.open = slices.DeleteFunc(l.open, func(was string) bool { return was == l.names.unsafe })
		l.names.unsafe = ""
	}
	if safe && (behind || fresh && l.names.unsafe+l.level.unsafe != "") {
		was, l.over = l.over, nil // the last change is newer than the look, and the next one judges it
		return was
	}
	if !covered {
		was = together(l.over, l.open)
	}
	l.open, l.over, l.known = nil, nil, !safe
	l.names.unsafe, l.level.unsafe = names, level
	l.names.looked(row["names"], fresh)
	l.level.looked(row["synchronous_commit"], fresh)
	return was
}

// together adds the values that are not there yet.
func together(a, b []string) []string {
	for _, was := range b {
		if !slices.Contains(a, was) {
			a = append(a, was)
		}
	}
	return a
}

// lapseReason is the reason of an interval for its values.
func lapseReason(was []string) string {
	text := strings.Join(was[:min(len(was), maxLapses)], ", ")
	if more := len(was) - maxLapses; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text + " for a while, according to PostgreSQL's log"
}
