package walproposer

import (
	"bytes"
	"path"
	"regexp"
)

// Lines of PostgreSQL's log in which SyncRepWaitForLSN (syncrep.c) says that a commit
// stopped waiting; they are the same in 14 to 18. In csvlog and jsonlog no other text
// that a client chose can look so, for its quotes are doubled or escaped; in the plain
// form, where the prefix is the operator's and the further lines of a statement begin
// with a tab, it can. A client can also RAISE the very warning. Both are counted: as they
// would be had it cancelled a wait.
var plainWait, quotedWait = func() (plain, quoted *regexp.Regexp) {
	const message = `(?:canceling wait for synchronous replication due to user request|` +
		`canceling the wait for synchronous replication and terminating connection due to administrator command)`
	const state = `[0-9A-Z]{5}`
	return regexp.MustCompile(`^(?:[^\t].*)?WARNING:  (?:` + state + `: )?` + message + `\r?$`),
		regexp.MustCompile(`,WARNING,` + state + `,"` + message + `",|"error_severity":"WARNING",(?:"state_code":"` + state + `",)?"message":"` + message + `"`)
}()

// cancelledHint is in each of those lines, and found faster.
var cancelledHint = []byte("for synchronous replication ")

// maxLogLine bounds what is looked at of a line, in bytes: in csvlog and jsonlog the
// message comes before all that may be long.
const maxLogLine = 64 << 10

// logScan counts cancelled waits in a log that comes in pieces, and finds changes of the
// settings that decide about them.
type logScan struct {
	quoted  bool // it is csvlog or jsonlog
	changes []change

	rest []byte // the last line so far, at most maxLogLine
	skip bool   // the rest of the line at hand was longer, and is passed over
}

// newLogScan reads the form from the file's name, as the logging collector makes it.
func newLogScan(file string) logScan {
	ext := path.Ext(file)
	return logScan{quoted: ext == ".csv" || ext == ".json"}
}

// feed returns how many lines that end in b say that a wait was cancelled.
func (s *logScan) feed(b []byte) (n int) {
	pattern := plainWait
	if s.quoted {
		pattern = quotedWait
	}
	for {
		line, after, whole := bytes.Cut(b, []byte("\n"))
		if !s.skip {
			part := line[:min(len(line), maxLogLine-len(s.rest))]
			s.rest = append(s.rest, part...)
			s.skip = len(part) < len(line)
		}
		if !whole {
			return n
		}
		if bytes.Contains(s.rest, cancelledHint) && pattern.Match(s.rest) {
			n++
		}
		if bytes.Contains(s.rest, changeHint) {
			if c, ok := parseChange(s.rest, s.quoted); ok {
				s.changes = append(s.changes, c)
			}
		}
		s.rest, s.skip = s.rest[:0], false
		b = after
	}
}

// take returns the changes since it was called before.
func (s *logScan) take() (list []change) {
	list, s.changes = s.changes, nil
	return list
}
