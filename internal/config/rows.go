package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// Row is a setting as SHOW ALL gives it.
type Row struct {
	Name        string // As the flag and the file have it: "data-dir".
	Value       string // Secrets that are set are shown as eight stars.
	Default     string
	Source      Source
	Env         string
	Description string
}

const hidden = "********"

// Rows returns the settings of the chosen command in the order of its struct.
func (p *Parsed) Rows() []Row {
	typed := map[string]bool{}
	var rows []Row
	seen := map[string]bool{}
	for _, path := range p.Context.Path {
		if path.Flag != nil && !path.Resolved {
			typed[path.Flag.Name] = true
		}
	}
	for _, path := range p.Context.Path {
		for _, flag := range path.Flags {
			if !settable(flag) || seen[flag.Name] {
				continue
			}
			seen[flag.Name] = true
			rows = append(rows, p.row(flag, typed[flag.Name]))
		}
	}
	return rows
}

// Row returns the setting name, with '_' standing for '-' as in PostgreSQL.
func (p *Parsed) Row(name string) (Row, bool) {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	for _, row := range p.Rows() {
		if row.Name == name {
			return row, true
		}
	}
	return Row{}, false
}

func (p *Parsed) row(flag *kong.Flag, typed bool) Row {
	row := Row{
		Name: flag.Name, Value: format(flag.Target), Default: flag.Default, Source: FromDefault,
		Env: envName(p.resolver.program, flag), Description: flag.Help,
	}
	if source, ok := p.resolver.sources[flag.Name]; ok {
		row.Source = source
	}
	if typed {
		row.Source = FromFlag
	}
	if secret(flag) && row.Value != "" {
		row.Value = hidden
	}
	return row
}

// format renders a value as it would be typed.
func format(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return ""
	case v.Kind() == reflect.Pointer:
		return format(v.Elem())
	case v.Kind() == reflect.Slice && !v.Type().Implements(reflect.TypeFor[fmt.Stringer]()):
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = format(v.Index(i))
		}
		return strings.Join(parts, ",")
	default:
		return fmt.Sprint(v.Interface())
	}
}
