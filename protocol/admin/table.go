package admin

import (
	"context"
	"fmt"
	"sort"
	"strings"
)

// Scope says what a command needs of the one who runs it.
type Scope uint8

// Scopes, in rising order of right.
const (
	ScopeAny      Scope = iota // any authenticated session
	ScopeTimeline              // a session that chose a timeline it may see
	ScopeAdmin                 // an identity with the admin right
)

func (s Scope) String() string {
	switch s {
	case ScopeAny:
		return "any"
	case ScopeTimeline:
		return "timeline"
	default:
		return "admin"
	}
}

// Arg is a positional argument or a named option of a command.
type Arg struct {
	Name     string
	Kind     Kind
	Optional bool
	Words    bool // takes all words that are left, joined by blanks; positional and last
	// Keyword introduces a positional argument, e.g. "AT LSN"; those that have one
	// come last, in any order.
	Keyword string
	Help    string
}

// Form is the argument as it is typed: "BLOCK <block>".
func (a Arg) Form() string {
	if a.Keyword != "" {
		return a.Keyword + " <" + a.Name + ">"
	}
	return "<" + a.Name + ">"
}

// Emit takes one row, as many values as the command has columns.
type Emit func(row ...any) error

// Func runs a command and emits its rows.
type Func func(ctx context.Context, call *Call, emit Emit) error

// Command is one entry of a Table.
type Command struct {
	Name    string // as typed, e.g. "SHOW TIMELINES"; matched without case
	Args    []Arg  // positional, optional ones last
	Options []Arg  // in a trailing list "(name 'value', ...)"
	Columns []Column
	// ColumnsFor replaces Columns where they depend on the arguments.
	ColumnsFor func(*Call) []Column
	Scope      Scope
	// Changes says that the command changes state; HTTP serves only those that
	// do not.
	Changes bool
	// Tag is the CommandComplete tag; empty counts the rows of commands with
	// columns, and is the name of others.
	Tag     string
	Handler Func
	Help    string // one sentence
	// Hidden commands, which only drivers send, are left out of HELP.
	Hidden bool
}

// Path is the name in an HTTP path: "show-timelines".
func (c *Command) Path() string { return strings.ReplaceAll(strings.ToLower(c.Name), " ", "-") }

// Usage is the command's grammar on one line.
func (c *Command) Usage() string {
	var b strings.Builder
	b.WriteString(c.Name)
	for _, a := range c.Args {
		form := a.Form()
		if a.Optional {
			form = "[" + form + "]"
		}
		b.WriteString(" " + form)
	}
	if len(c.Options) > 0 {
		var list []string
		for _, o := range c.Options {
			form := o.Name + " '...'"
			if o.Optional {
				form = "[" + form + "]"
			}
			list = append(list, form)
		}
		b.WriteString(" (" + strings.Join(list, ", ") + ")")
	}
	return b.String()
}

// Call is a command with its arguments.
type Call struct {
	Command *Command
	Args    map[string]string // positional arguments that were given
	Options map[string]string // options that were given
	Target  any               // what the program runs it on, e.g. its session; set by the caller
}

// Columns of the result.
func (c *Call) Columns() []Column {
	if c.Command.ColumnsFor != nil {
		return c.Command.ColumnsFor(c)
	}
	return c.Command.Columns
}

// Run runs the command; every row has as many values as there are columns.
func (c *Call) Run(ctx context.Context, emit Emit) error {
	n := len(c.Columns())
	return c.Command.Handler(ctx, c, func(row ...any) error {
		if len(row) != n {
			return fmt.Errorf("%s: row of %d values in a result of %d columns", c.Command.Name, len(row), n)
		}
		return emit(row...)
	})
}

// Rows runs the command and collects its rows.
func (c *Call) Rows(ctx context.Context) (rows [][]any, err error) {
	err = c.Run(ctx, func(row ...any) error {
		rows = append(rows, row)
		return nil
	})
	return rows, err
}

// Tag is the CommandComplete tag after n rows.
func (c *Call) Tag(n int) string {
	switch {
	case c.Command.Tag != "":
		return c.Command.Tag
	case len(c.Columns()) > 0:
		return fmt.Sprintf("SELECT %d", n)
	default:
		return c.Command.Name
	}
}

// Table is an immutable set of commands.
type Table struct {
	commands []*Command
	entries  []entry // longest name first, so that SHOW ALL wins over SHOW <name>
}

type entry struct {
	name    []token
	command *Command
}

// NewTable makes a table of commands and adds HELP. Names must differ and have
// a handler; a mistake in them is one of the program, and reported as error.
func NewTable(commands ...Command) (*Table, error) {
	t := &Table{}
	commands = append(commands, helpCommand(t))
	seen := make(map[string]bool)
	for _, c := range commands {
		name, err := lex(c.Name)
		switch {
		case err != nil || len(name) == 0:
			return nil, fmt.Errorf("command %q: bad name", c.Name)
		case seen[strings.ToUpper(c.Name)]:
			return nil, fmt.Errorf("command %q: defined twice", c.Name)
		case c.Handler == nil:
			return nil, fmt.Errorf("command %q: no handler", c.Name)
		}
		seen[strings.ToUpper(c.Name)] = true
		t.commands = append(t.commands, &c)
		t.entries = append(t.entries, entry{name, &c})
	}
	sort.SliceStable(t.entries, func(i, k int) bool { return len(t.entries[i].name) > len(t.entries[k].name) })
	sort.SliceStable(t.commands, func(i, k int) bool { return t.commands[i].Name < t.commands[k].Name })
	return t, nil
}

// Commands lists the table by name.
func (t *Table) Commands() []*Command { return t.commands }

// Lookup finds the command that a statement asks for and reads its arguments.
// Errors are of type *Error.
func (t *Table) Lookup(stmt string) (*Call, error) {
	p, err := newParser(stmt)
	if err != nil {
		return nil, err
	}
	for _, e := range t.entries {
		if e.matches(p.tokens) {
			p.at = len(e.name)
			return p.call(e.command)
		}
	}
	return nil, t.unknown(p.tokens)
}

func (e entry) matches(tokens []token) bool {
	if len(tokens) < len(e.name) {
		return false
	}
	for i, want := range e.name {
		got := tokens[i]
		if got.kind != want.kind {
			return false
		}
		if !strings.EqualFold(strings.TrimPrefix(lower(got.text), "pg_catalog."), want.text) {
			return false
		}
	}
	return true
}

// unknown names the command that was perhaps meant.
func (t *Table) unknown(tokens []token) *Error {
	var words []string
	for _, tok := range tokens {
		if tok.kind != tokenWord || len(words) == 2 {
			break
		}
		words = append(words, strings.ToUpper(tok.text))
	}
	name := strings.Join(words, " ")
	if name == "" && len(tokens) > 0 {
		name = tokens[0].source
	}
	err := Errorf(codeFeatureNotSupported, "unrecognized command %q", name)
	if near := t.nearest(name); near != "" {
		return err.WithHint("Perhaps you mean %q. HELP lists the commands.", near)
	}
	return err.WithHint("HELP lists the commands.")
}

func (t *Table) nearest(name string) string {
	best, bestDistance := "", 3
	for _, c := range t.commands {
		if d := distance(strings.ToUpper(c.Name), name); d < bestDistance && !c.Hidden {
			best, bestDistance = c.Name, d
		}
	}
	return best
}

// distance is Levenshtein's, for names of at most 64 bytes.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for i := range row {
		row[i] = i
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for k := range len(b) {
			cost := diagonal
			if a[i] != b[k] {
				cost++
			}
			diagonal = row[k+1]
			row[k+1] = min(cost, row[k]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
