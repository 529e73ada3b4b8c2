package operator

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// parseConninfo reads a connection string, a URI or keywords and values, as
// libpq does. The environment and the service file are not consulted.
func parseConninfo(s string) (map[string]string, error) {
	if strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://") {
		return parseURI(s)
	}
	out := map[string]string{}
	for rest := strings.TrimSpace(s); rest != ""; rest = strings.TrimSpace(rest) {
		name, value, found := strings.Cut(rest, "=")
		if name = strings.TrimSpace(name); !found || name == "" || strings.ContainsAny(name, " \t\n'") {
			return nil, fmt.Errorf("connection string: %q is not followed by =", strings.Fields(rest)[0])
		}
		var err error
		if out[name], rest, err = conninfoValue(strings.TrimLeft(value, " \t\n")); err != nil {
			return nil, fmt.Errorf("connection string: value of %s: %w", name, err)
		}
	}
	return out, nil
}

// conninfoValue takes one value off the front of s.
func conninfoValue(s string) (value, rest string, err error) {
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

func parseURI(s string) (map[string]string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("connection string: not a URI") // the text may hold a password
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

// formatConninfo writes settings as keywords and values, by name.
func formatConninfo(settings map[string]string) string {
	parts := make([]string, 0, len(settings))
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if v := settings[name]; strings.Trim(v, conninfoPlain) == "" && v != "" {
			parts = append(parts, name+"="+v)
		} else {
			parts = append(parts, name+"="+quoteConninfo(v))
		}
	}
	return strings.Join(parts, " ")
}

// conninfoPlain are the characters that need no quotes.
const conninfoPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:"

// errSeveralHosts is why a connection string is refused.
var errSeveralHosts = errors.New("the connection string names several hosts: a walproposer belongs to one server; name the primary's")

// resolveServer returns which server and database a connection string means,
// with everything that the environment added and without a password, so that it
// means the same to another process.
func resolveServer(conninfo string) (map[string]string, error) {
	given, err := parseConninfo(conninfo)
	if err != nil {
		return nil, err
	}
	config, err := pgconn.ParseConfig(conninfo)
	if err != nil {
		return nil, fmt.Errorf("parse connection string: %w", err)
	}
	for _, f := range config.Fallbacks {
		if f.Host != config.Host || f.Port != config.Port {
			return nil, errSeveralHosts
		}
	}
	out := map[string]string{
		"host": config.Host, "port": fmt.Sprint(config.Port), "user": config.User,
		"dbname": cmp.Or(config.Database, "postgres"),
	}
	for name, variable := range map[string]string{
		"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "passfile": "PGPASSFILE",
	} {
		if v := cmp.Or(given[name], os.Getenv(variable)); v != "" {
			out[name] = v
		}
	}
	return out, nil
}

// asRole is how another role reaches the same server, its password in passfile.
// A client certificate is not taken over: it is the other role's.
func asRole(server map[string]string, role, passfile string) map[string]string {
	out := maps.Clone(server)
	delete(out, "sslcert")
	delete(out, "sslkey")
	out["user"], out["passfile"] = role, passfile
	return out
}
