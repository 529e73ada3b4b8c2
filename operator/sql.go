package operator

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// row is one row of a simple query's answer, by column name. NULL is absent.
type row map[string]string

// conninfo is the connection string for a safekeeper or pageserver of the
// cluster at address, with the timeline chosen.
func (c *Cluster) conninfo(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", address, err)
	}
	parts := []string{
		"host=" + quoteConninfo(host),
		"port=" + quoteConninfo(port),
		"dbname=replication",
		"application_name=walhaven",
		"connect_timeout=3",
	}
	if c.User != "" {
		parts = append(parts, "user="+quoteConninfo(c.User))
	}
	if c.PasswordFile != "" {
		password, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		parts = append(parts, "password="+quoteConninfo(strings.TrimSpace(string(password))))
	}
	if !c.Tenant.IsZero() {
		options := fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", c.Tenant, c.Timeline)
		parts = append(parts, "options="+quoteConninfo(options))
	}
	return strings.Join(parts, " "), nil
}

// quoteConninfo quotes a value as libpq's conninfo syntax wants it.
func quoteConninfo(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// query runs one statement at address and returns its rows.
func (c *Cluster) query(ctx context.Context, address, sql string) ([]row, error) {
	conninfo, err := c.conninfo(address)
	if err != nil {
		return nil, err
	}
	return queryConninfo(ctx, conninfo, sql)
}

// queryConninfo runs one statement over a connection of its own, in the simple
// protocol, which replication connections need.
func queryConninfo(ctx context.Context, conninfo, sql string) ([]row, error) {
	conn, err := pgconn.Connect(ctx, conninfo)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	var rows []row
	for _, result := range results {
		for _, values := range result.Rows {
			r := row{}
			for i, f := range result.FieldDescriptions {
				if values[i] != nil {
					r[f.Name] = string(values[i])
				}
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// queryOne is query for statements that answer exactly one row.
func (c *Cluster) queryOne(ctx context.Context, address, sql string) (row, error) {
	rows, err := c.query(ctx, address, sql)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("%s: expected one row, got %d", sql, len(rows))
	}
	return rows[0], nil
}
