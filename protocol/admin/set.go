package admin

import "strings"

// Assignment is a SET statement. Name is empty for forms that set nothing that
// is kept, such as SET TRANSACTION.
type Assignment struct {
	Name    string
	Value   string
	Default bool // TO DEFAULT
}

// ParseSet reads SET [SESSION|LOCAL] name {TO|=} value[, ...] and its special
// forms (TIME ZONE, NAMES, TRANSACTION, SESSION CHARACTERISTICS).
func ParseSet(stmt string) (Assignment, error) {
	p, err := newParser(stmt)
	if err != nil {
		return Assignment{}, err
	}
	p.take()
	if t := p.peek(); t.is("session") || t.is("local") {
		p.take()
	}
	switch t := p.peek(); {
	case t.is("transaction"), t.is("characteristics"), t.is("constraints"), t.is("role"), t.is("authorization"):
		return Assignment{}, nil
	case t.is("time"):
		p.take()
		p.take() // ZONE
		return p.values("TimeZone")
	case t.is("names"):
		p.take()
		return p.values("client_encoding")
	}
	t := p.take()
	if t.kind != tokenWord && t.kind != tokenQuoted {
		return Assignment{}, syntaxErrorAt(t)
	}
	if sep := p.take(); !sep.is("=") && !sep.is("to") {
		return Assignment{}, syntaxErrorAt(sep)
	}
	return p.values(t.text)
}

// values joins a list as PostgreSQL shows it.
func (p *parser) values(name string) (Assignment, error) {
	var list []string
	for {
		t := p.take()
		sign := ""
		if t.is("-") || t.is("+") {
			sign = strings.TrimPrefix(t.text, "+")
			t = p.take()
		}
		if t.kind == tokenEnd || t.kind == tokenPunct {
			return Assignment{}, syntaxErrorAt(t)
		}
		list = append(list, sign+t.text)
		if len(list) == 1 && t.is("default") {
			return Assignment{Name: name, Default: true}, p.end()
		}
		if !p.punct(",") {
			return Assignment{Name: name, Value: strings.Join(list, ", ")}, p.end()
		}
	}
}

// ParseSetConfig recognises SELECT [pg_catalog.]set_config('name', 'value',
// bool) with literal arguments.
func ParseSetConfig(stmt string) (name, value string, ok bool) {
	p, err := newParser(stmt)
	if err != nil || !p.take().is("select") {
		return "", "", false
	}
	if f := p.take(); !f.is("set_config") && !f.is("pg_catalog.set_config") {
		return "", "", false
	}
	if !p.punct("(") {
		return "", "", false
	}
	n := p.take()
	comma := p.punct(",")
	v := p.take()
	if n.kind != tokenString || !comma || v.kind != tokenString || !p.punct(",") {
		return "", "", false
	}
	if b := p.take(); b.kind != tokenWord || !p.punct(")") || p.end() != nil {
		return "", "", false
	}
	return n.text, v.text, true
}
