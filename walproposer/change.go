package walproposer

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/walhaven/walhaven/internal/syncrep"
)

// Settings that decide whether commits wait for the quorum.
const (
	settingNames = "synchronous_standby_names"
	settingLevel = "synchronous_commit"
)

// change is a line of PostgreSQL's log that says that a setting has another value.
type change struct {
	name  string
	value string // as the configuration file has it
	cut   bool   // the value goes on behind its line
	// removed says that the file has it no longer, so that it has its default, which it may
	// have had before.
	removed bool
}

// The postmaster says at a reload what changed (ProcessConfigFileInternal), before any
// other process may have read it; those do so at DEBUG2. It is the same in 14 to 18: the
// name is as the file has it, of a removed one as PostgreSQL calls it.
var (
	changed = regexp.MustCompile(`(?is)^parameter "(` + settingNames + `|` + settingLevel + `)" (changed to "|removed from configuration file, reset to default$)(.*)$`)

	// plainSeverity ends the prefix of a line in the plain form. Of several in a line the
	// first counts: what follows is text, which a client may have chosen.
	plainSeverity = regexp.MustCompile(`(DEBUG|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|QUERY|CONTEXT|LOCATION|BACKTRACE|STATEMENT):  (?:[0-9A-Z]{5}: )?`)
	// In csvlog and jsonlog a line of a client's process has a user, the postmaster's has
	// none.
	csvMessage  = regexp.MustCompile(`^[^,"]*,,,[0-9]+,,[^,"]*,[0-9]+,[^,"]*,[^,"]*,[^,"]*,[^,"]*,LOG,00000,"((?:[^"]|"")*)`)
	jsonMessage = regexp.MustCompile(`^\{"timestamp":"[^"]*","pid":[0-9]+,(?:"[a-z_]+":(?:"(?:[^"\\]|\\.)*"|[-0-9]+),)*?"error_severity":"LOG",(?:"state_code":"[0-9A-Z]{5}",)?"message":("(?:[^"\\]|\\.)*")`)
)

// changeHint is in each of those lines, and found faster.
var changeHint = []byte("parameter ")

// parseChange returns what a line of the log says of a setting that counts.
func parseChange(line []byte, quoted bool) (c change, ok bool) {
	m := changed.FindStringSubmatch(postmasterSaid(line, quoted))
	if m == nil {
		return c, false
	}
	c.name = strings.ToLower(m[1])
	if c.removed = strings.HasPrefix(m[2], "removed"); c.removed {
		if c.name == settingLevel {
			c.value = "on"
		}
		return c, true
	}
	c.value, ok = strings.CutSuffix(m[3], `"`)
	c.cut = !ok
	return c, true
}

// postmasterSaid is what the postmaster said at level LOG in a line, "" if it is not such a one.
func postmasterSaid(line []byte, quoted bool) string {
	if !quoted {
		m := plainSeverity.FindSubmatchIndex(line)
		if m == nil || line[0] == '\t' || string(line[m[2]:m[3]]) != "LOG" {
			return ""
		}
		return string(bytes.TrimSuffix(line[m[1]:], []byte("\r")))
	}
	if m := csvMessage.FindSubmatch(line); m != nil {
		return strings.ReplaceAll(string(m[1]), `""`, `"`)
	}
	m := jsonMessage.FindSubmatch(line)
	if m == nil {
		return ""
	}
	var text string
	if json.Unmarshal(m[1], &text) != nil {
		return ""
	}
	return text
}

// shown is the value, in the reason of an interval.
func (c change) shown() string {
	if c.cut || len(c.value) > maxShown {
		return strings.ToValidUTF8(c.value[:min(len(c.value), maxShown)], "") + "..."
	}
	return c.value
}

// maxShown bounds a setting's value in the reason of an interval, in bytes.
const maxShown = 100

// unsafe says what the setting was if commits did not wait for the quorum with it, ""
// if they did, with those standbys connected that each of some lists names. What is not
// understood counts as unsafe.
func (c change) unsafe(standbys ...[]string) string {
	if c.name == settingLevel {
		if !c.cut && waitsAt(c.value) {
			return ""
		}
		return settingLevel + " was " + c.shown()
	}
	list, err := syncrep.Parse(c.value)
	waits := err == nil && !c.cut
	for _, connected := range standbys {
		waits = waits && list.WaitsFor(ApplicationName, false, connected)
	}
	if waits {
		return ""
	}
	return settingNames + " was '" + c.shown() + "'"
}

// waitsAt says whether commits wait for a standby with a synchronous_commit, by any of its
// names in a file.
func waitsAt(level string) bool {
	switch level = strings.ToLower(level); level {
	case "true", "yes", "1":
		return true
	}
	return syncrep.Waits(level)
}
