package operator

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/internal/conninfo"
)

// errSeveralHosts is why a connection string is refused.
var errSeveralHosts = errors.New("the connection string names several hosts: a walproposer belongs to one server; name the primary's")

// resolveServer returns which server and database a connection string means,
// with everything that the environment added and without a password, so that it
// means the same to another process.
func resolveServer(text string) (map[string]string, error) {
	given, err := conninfo.Parse(text)
	if err == nil {
		err = conninfo.Check(text)
	}
	if err != nil {
		return nil, err
	}
	config, err := pgconn.ParseConfig(text)
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
