package admin

import (
	"math"
	"strconv"

	"github.com/walhaven/walhaven/wal"
)

// parser walks tokens. Replication keywords are matched as written, because
// PostgreSQL knows them in upper case only.
type parser struct {
	tokens []token
	at     int
}

func newParser(stmt string) (*parser, error) {
	tokens, err := lex(stmt)
	if err != nil {
		return nil, err
	}
	return &parser{tokens: tokens}, nil
}

func (p *parser) peek() token {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return token{}
}

func (p *parser) take() token {
	t := p.peek()
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

// keyword takes the word if it is next.
func (p *parser) keyword(word string) bool {
	if t := p.peek(); t.kind == tokenWord && t.text == word {
		p.at++
		return true
	}
	return false
}

func (p *parser) punct(c string) bool {
	if t := p.peek(); t.kind == tokenPunct && t.text == c {
		p.at++
		return true
	}
	return false
}

// end accepts one semicolon and then nothing.
func (p *parser) end() error {
	p.punct(";")
	if p.peek().kind != tokenEnd {
		return syntaxError()
	}
	return nil
}

func (p *parser) identifier() (string, error) {
	if name, ok := p.take().identifier(); ok {
		return name, nil
	}
	return "", syntaxError()
}

func (p *parser) str() (string, error) {
	if t := p.take(); t.kind == tokenString {
		return t.text, nil
	}
	return "", syntaxError()
}

func (p *parser) lsn() (wal.LSN, error) {
	t := p.take()
	if t.kind != tokenWord {
		return 0, syntaxError()
	}
	lsn, err := wal.ParseLSN(t.text)
	if err != nil {
		return 0, syntaxError()
	}
	return lsn, nil
}

func (p *parser) uint(limit uint64) (uint64, error) {
	t := p.take()
	if t.kind != tokenWord || !isDigit(t.text[0]) {
		return 0, syntaxError()
	}
	n, err := strconv.ParseUint(t.text, 10, 64)
	if err != nil || n > limit {
		return 0, syntaxError()
	}
	return n, nil
}

// tli reads a timeline number, which is never 0.
func (p *parser) tli() (wal.TLI, error) {
	n, err := p.uint(math.MaxUint32)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, Errorf(codeSyntaxError, "invalid timeline %d", n)
	}
	return wal.TLI(n), nil
}

// Option is one entry of an option list: a name in lower case unless it was
// quoted, and a value if there was one.
type Option struct {
	Name     string
	Value    string
	HasValue bool
}

// Bool reads the value as PostgreSQL's option lists do; none is true.
func (o Option) Bool() (bool, error) {
	if !o.HasValue {
		return true, nil
	}
	return ParseBool(o.Name, o.Value)
}

// ParseBool reads a boolean option value.
func ParseBool(name, value string) (bool, error) {
	switch lower(value) {
	case "true", "on", "1", "t", "yes":
		return true, nil
	case "false", "off", "0", "f", "no":
		return false, nil
	}
	return false, Errorf(codeSyntaxError, "%s requires a Boolean value", name)
}

// options reads "( name [=] [value], ... )" behind an opening parenthesis that
// is still to come. An empty list is a syntax error, as in PostgreSQL.
func (p *parser) options() ([]Option, error) {
	if !p.punct("(") {
		return nil, syntaxError()
	}
	var list []Option
	for {
		name, err := p.identifier()
		if err != nil {
			return nil, err
		}
		o := Option{Name: name}
		equals := p.punct("=")
		switch t := p.peek(); t.kind {
		case tokenString, tokenWord, tokenQuoted:
			o.Value, o.HasValue = p.take().text, true
		default:
			if equals {
				return nil, syntaxError()
			}
		}
		list = append(list, o)
		if p.punct(")") {
			return list, nil
		}
		if !p.punct(",") {
			return nil, syntaxError()
		}
	}
}
