package admin

import (
	"strconv"
	"strings"

	"github.com/walhaven/walhaven/wal"
)

// Kind is the form of an argument, checked before the handler runs.
type Kind uint8

// Kinds of arguments.
const (
	KindText   Kind = iota
	KindLSN         // X/X
	KindUint        // decimal, 64 bits
	KindBool        // true, false, on, off, 1, 0
	KindHexID       // 32 hexadecimal digits
	KindUint32      // decimal, 32 bits
)

// check says whether value has the form of k.
func (k Kind) check(value string) bool {
	var err error
	switch k {
	case KindLSN:
		_, err = wal.ParseLSN(value)
	case KindUint:
		_, err = strconv.ParseUint(value, 10, 64)
	case KindUint32:
		_, err = strconv.ParseUint(value, 10, 32)
	case KindBool:
		_, err = ParseBool("", value)
	case KindHexID:
		_, err = wal.ParseTenantID(value)
	case KindText:
	}
	return err == nil
}

// call reads the arguments of c behind its name.
func (p *parser) call(c *Command) (*Call, error) {
	call := &Call{Command: c, Args: map[string]string{}, Options: map[string]string{}}
	for _, a := range c.Args {
		if a.Keyword != "" {
			break
		}
		t := p.peek()
		if t.kind == tokenEnd || t.kind == tokenPunct {
			if a.Optional {
				break
			}
			return nil, Errorf(codeSyntaxError, "%s needs an argument %s", c.Name, a.Form()).
				WithHint("%s", c.Usage())
		}
		if err := p.argument(call, a); err != nil {
			return nil, err
		}
	}
	if err := p.keywordArguments(c, call); err != nil {
		return nil, err
	}
	if err := p.namedOptions(c, call); err != nil {
		return nil, err
	}
	p.punct(";")
	if t := p.peek(); t.kind != tokenEnd {
		return nil, syntaxErrorAt(t).WithHint("%s", c.Usage())
	}
	return call, nil
}

// argument takes the value of a.
func (p *parser) argument(call *Call, a Arg) error {
	value := p.take().text
	for a.Words && p.peek().kind == tokenWord {
		value += " " + p.take().text
	}
	if !a.Kind.check(value) {
		return Errorf(codeInvalidParameter, "invalid value for <%s>: %q", a.Name, value).
			WithHint("%s", call.Command.Usage())
	}
	call.Args[a.Name] = value
	return nil
}

// keywordArguments reads the arguments that a keyword introduces.
func (p *parser) keywordArguments(c *Command, call *Call) error {
	for found := true; found; {
		found = false
		for _, a := range c.Args {
			if _, given := call.Args[a.Name]; a.Keyword == "" || given || !p.words(a.Keyword) {
				continue
			}
			if t := p.peek(); t.kind == tokenEnd || t.kind == tokenPunct {
				return Errorf(codeSyntaxError, "%s needs a value behind %s", c.Name, a.Keyword).WithHint("%s", c.Usage())
			}
			if err := p.argument(call, a); err != nil {
				return err
			}
			found = true
		}
	}
	for _, a := range c.Args {
		if _, given := call.Args[a.Name]; a.Keyword != "" && !a.Optional && !given {
			return Errorf(codeSyntaxError, "%s needs an argument %s", c.Name, a.Form()).WithHint("%s", c.Usage())
		}
	}
	return nil
}

// words takes the words of a keyword if all of them are next.
func (p *parser) words(keyword string) bool {
	at := p.at
	for word := range strings.FieldsSeq(keyword) {
		if !p.peek().is(word) {
			p.at = at
			return false
		}
		p.at++
	}
	return true
}

func (p *parser) namedOptions(c *Command, call *Call) error {
	if len(c.Options) > 0 && p.peek().is("(") {
		list, err := p.options()
		if err != nil {
			return err
		}
		for _, o := range list {
			if err := call.option(o); err != nil {
				return err
			}
		}
	}
	for _, a := range c.Options {
		if _, given := call.Options[a.Name]; !given && !a.Optional {
			return Errorf(codeSyntaxError, "%s needs an option %q", c.Name, a.Name).WithHint("%s", c.Usage())
		}
	}
	return nil
}

func (c *Call) option(o Option) error {
	for _, a := range c.Command.Options {
		if a.Name != o.Name {
			continue
		}
		if _, twice := c.Options[o.Name]; twice {
			return Errorf(codeSyntaxError, "duplicate option %q", o.Name)
		}
		if !o.HasValue && a.Kind == KindBool {
			o.Value, o.HasValue = "true", true
		}
		if !o.HasValue || !a.Kind.check(o.Value) {
			return Errorf(codeInvalidParameter, "invalid value for option %q: %q", o.Name, o.Value)
		}
		c.Options[o.Name] = o.Value
		return nil
	}
	var names []string
	for _, a := range c.Command.Options {
		names = append(names, a.Name)
	}
	return Errorf(codeSyntaxError, "unrecognized option %q", o.Name).
		WithHint("Options of %s: %s.", c.Command.Name, strings.Join(names, ", "))
}
