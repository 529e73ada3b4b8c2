package conninfo

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Parse reads a connection string, a URI or keywords and values, as
// libpq does. The environment and the service file are not consulted. Errors
// count the settings and quote none: any word may be part of a password with a
// space in it.
func Parse(s string) (map[string]string, error) {
	if isURI(s) {
		return parseURI(s)
	}
	out := map[string]string{}
	number := 0
	for rest := strings.TrimSpace(s); rest != ""; rest = strings.TrimSpace(rest) {
		number++
		name, value, found := strings.Cut(rest, "=")
		if name = strings.TrimSpace(name); !found || name == "" || strings.ContainsAny(name, " \t\n'") {
			return nil, fmt.Errorf("connection string: setting %d is not followed by =; a value with a space needs quotes", number)
		}
		var err error
		if out[name], rest, err = cutValue(strings.TrimLeft(value, " \t\n")); err != nil {
			return nil, fmt.Errorf("connection string: value of setting %d: %w", number, err)
		}
	}
	return out, nil
}

func isURI(s string) bool {
	return strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://")
}

// cutValue takes one value off the front of s.
func cutValue(s string) (value, rest string, err error) {
	var b strings.Builder
	quoted := strings.HasPrefix(s, "'")
	i := 0
	if quoted {
		i = 1
	}
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case quoted && c == '\'':
			return b.String(), s[i+1:], nil
		case !quoted && strings.IndexByte(" \t\n", c) >= 0:
			return b.String(), s[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", "", errors.New("the closing quote is missing")
	}
	return b.String(), "", nil
}

// errNotURI does not quote the text, which may hold a password.
var errNotURI = errors.New("connection string: not a URI")

func parseURI(s string) (map[string]string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errNotURI
	}
	out := map[string]string{}
	set := func(name, value string) {
		if value != "" {
			out[name] = value
		}
	}
	set("host", u.Hostname())
	set("port", u.Port())
	set("dbname", strings.TrimPrefix(u.Path, "/"))
	set("user", u.User.Username())
	password, _ := u.User.Password()
	set("password", password)
	for name, values := range u.Query() {
		set(name, values[len(values)-1])
	}
	return out, nil
}

// Format writes settings as keywords and values, by name.
func Format(settings map[string]string) string {
	parts := make([]string, 0, len(settings))
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if v := settings[name]; strings.Trim(v, Plain) == "" && v != "" {
			parts = append(parts, name+"="+v)
		} else {
			parts = append(parts, name+"="+Quote(v))
		}
	}
	return strings.Join(parts, " ")
}

// Plain are the characters that need no quotes.
const Plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:"

// Quote quotes a value as libpq's conninfo syntax wants it.
func Quote(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// password are the keywords that hold one, or say where one lies.
var password = []string{"password", "passfile"}

// WithoutPassword returns the connection string without the password that it may
// hold, and without the name of a file that has one.
func WithoutPassword(s string) (string, error) {
	if !isURI(s) {
		settings, err := Parse(s)
		if err != nil {
			return "", err
		}
		for _, name := range password {
			delete(settings, name)
		}
		return Format(settings), nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", errNotURI
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	query := u.Query()
	for _, name := range password {
		query.Del(name)
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}
