package syncrep

import (
	"fmt"
	"strings"
)

// List is a value of synchronous_standby_names. The zero value is the empty one,
// with which commits wait for no standby.
type List struct {
	Any   bool     // ANY: whoever of them is first; else FIRST: those named first
	Count int      // for how many a commit waits
	Names []string // as they are written; "*" is every standby's
}

// everybody is the name that every standby has.
const everybody = "*"

// Has says whether a name itself is listed, in whatever case.
func (l List) Has(name string) bool {
	for _, n := range l.Names {
		if fold(n) == fold(name) {
			return true
		}
	}
	return false
}

// Takes says whether PostgreSQL may choose a standby of that name.
func (l List) Takes(name string) bool { return l.Has(name) || l.Has(everybody) }

// Needs says whether no commit can return without the standby of that name, whoever
// else connects. A name is taken for that of one standby, which PostgreSQL does not
// ensure.
func (l List) Needs(name string) bool {
	return l.Has(name) && !l.Has(everybody) && l.Count >= len(l.Names)
}

// DoesWithout says whether a commit can return without a standby when so many
// others are connected whose sync_state in pg_stat_replication is sync or quorum.
// Where the order decides, PostgreSQL calls no more than Count so, and that standby
// is one of them when it is chosen.
func (l List) DoesWithout(others int) bool { return others >= l.Count }

// WaitsFor says whether no commit can return before a standby of that name acknowledges
// it, while others of these names are connected: it is connected itself or, when away, has
// to come back first. It judges a list that is not in force as well; of standbys of one
// place in the list PostgreSQL may prefer any.
func (l List) WaitsFor(name string, away bool, others []string) bool {
	own, before := l.priority(name), 0
	for _, other := range others {
		if p := l.priority(other); p > 0 && (p <= own || l.Any || away) {
			before++
		}
	}
	return own > 0 && !l.DoesWithout(before)
}

// priority is a standby's place in the list, 1 for the first; 0 for who is not taken.
func (l List) priority(name string) int {
	for i, n := range l.Names {
		if n == everybody || fold(n) == fold(name) {
			return i + 1
		}
	}
	return 0
}

// WithAll is a list that waits for a name and for every other that is listed.
func (l List) WithAll(name string) List {
	all := List{Names: []string{name}}
	for _, n := range l.Names {
		if n != everybody && !all.Has(n) {
			all.Names = append(all.Names, n)
		}
	}
	all.Count = len(all.Names)
	return all
}

// String is the list in PostgreSQL's grammar.
func (l List) String() string {
	if len(l.Names) == 0 {
		return ""
	}
	method, names := "FIRST", make([]string, len(l.Names))
	if l.Any {
		method = "ANY"
	}
	for i, n := range l.Names {
		names[i] = quote(n)
	}
	return fmt.Sprintf("%s %d (%s)", method, l.Count, strings.Join(names, ", "))
}

// Waits says whether commits with a value of synchronous_commit wait for standbys.
func Waits(synchronousCommit string) bool {
	switch synchronousCommit {
	case "on", "remote_apply", "remote_write":
		return true
	}
	return false
}
