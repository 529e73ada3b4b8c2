package operator

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/replication"
)

// pgAdmin is a superuser's session on a server that is attached or detached.
// Its own changes never wait for a standby: they are what makes waiting possible,
// or ends it.
type pgAdmin struct {
	client *replication.Client
	say    func(format string, args ...any)
	dry    bool   // changes are printed and not made
	level  string // synchronous_commit of the server, which is not this session's
}

// adminTimeout bounds connecting.
const adminTimeout = 5 * time.Second

// connectAdmin opens the session.
func connectAdmin(ctx context.Context, conninfo string, say func(format string, args ...any)) (*pgAdmin, error) {
	c, err := replication.Connect(ctx, conninfo, replication.DialOptions{Timeout: adminTimeout, Params: map[string]string{
		"application_name": "walhaven-admin", "search_path": "pg_catalog",
		"statement_timeout": "0", "lock_timeout": "0", "idle_session_timeout": "0", "client_encoding": "UTF8",
	}})
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	p := &pgAdmin{client: c, say: say}
	row, err := p.one(ctx, "SELECT current_setting('synchronous_commit') AS level, set_config('synchronous_commit', 'local', false)")
	if err != nil {
		p.close()
		return nil, err
	}
	p.level = row["level"]
	return p, nil
}

func (p *pgAdmin) close() {
	if p != nil {
		_ = p.client.Close() // nothing was left undone on it
	}
}

// one asks for exactly one row.
func (p *pgAdmin) one(ctx context.Context, sql string) (replication.Row, error) {
	rows, err := p.rows(ctx, sql)
	if err == nil && len(rows) != 1 {
		err = fmt.Errorf("PostgreSQL: %s: %d rows instead of one", sql, len(rows))
	}
	if err != nil {
		return nil, err
	}
	return rows[0], nil
}

func (p *pgAdmin) rows(ctx context.Context, sql string) ([]replication.Row, error) {
	rows, err := p.client.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %s: %w", oneLine(sql), err)
	}
	return rows, nil
}

// change prints a statement and, unless this is a rehearsal, runs it.
func (p *pgAdmin) change(ctx context.Context, sql string) error { return p.changeSecret(ctx, sql, sql) }

// changeSecret prints shown instead of the statement.
func (p *pgAdmin) changeSecret(ctx context.Context, sql, shown string) error {
	p.say("+ %s;", shown)
	if p.dry {
		return nil
	}
	invariant.Point("operator/change/before")
	if _, err := p.client.Query(ctx, sql); err != nil {
		return fmt.Errorf("PostgreSQL: %s: %w", shown, err)
	}
	invariant.Point("operator/change/after")
	return nil
}

// reload makes the server read its settings.
func (p *pgAdmin) reload(ctx context.Context) error { return p.change(ctx, "SELECT pg_reload_conf()") }

// literal and ident quote for SQL; standard_conforming_strings does not matter
// to a literal with E.
func literal(v string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(v) + "'"
}

func ident(v string) string {
	if v != "" && strings.Trim(v, "abcdefghijklmnopqrstuvwxyz_") == "" {
		return v
	}
	return `"` + strings.ReplaceAll(v, `"`, `""`) + `"`
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
