package operator

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/walhaven/walhaven/internal/conninfo"
	"github.com/walhaven/walhaven/replication"
)

// conninfo is the connection string for a safekeeper or pageserver of the
// cluster at address, with the timeline chosen.
func (c *Cluster) conninfo(address string) (string, error) {
	if c.PasswordFile == "" {
		return c.conninfoAs(address, c.User, "")
	}
	password, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	return c.conninfoAs(address, c.User, strings.TrimSpace(string(password)))
}

// conninfoAs is conninfo with another login; empty parts are left out.
func (c *Cluster) conninfoAs(address, user, password string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", address, err)
	}
	parts := []string{
		"host=" + conninfo.Quote(host),
		"port=" + conninfo.Quote(port),
		"dbname=replication",
		"application_name=walhaven",
		"connect_timeout=3",
	}
	if user != "" {
		parts = append(parts, "user="+conninfo.Quote(user))
	}
	if password != "" {
		parts = append(parts, "password="+conninfo.Quote(password))
	}
	if !c.Tenant.IsZero() {
		options := fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", c.Tenant, c.Timeline)
		parts = append(parts, "options="+conninfo.Quote(options))
	}
	return strings.Join(parts, " "), nil
}

// query runs one statement at address and returns its rows.
func (c *Cluster) query(ctx context.Context, address, sql string, params map[string]string) ([]replication.Row, error) {
	conninfo, err := c.conninfo(address)
	if err != nil {
		return nil, err
	}
	return replication.Query(ctx, conninfo, sql, replication.DialOptions{Timeout: probeTimeout, Params: params})
}

// timelineRow asks the safekeeper or pageserver at address for the cluster's
// timeline.
func (c *Cluster) timelineRow(ctx context.Context, address string) (replication.Row, error) {
	rows, err := c.query(ctx, address, "TIMELINE_STATUS", nil)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("TIMELINE_STATUS: expected one row, got %d", len(rows))
	}
	return rows[0], nil
}

// timelineStatus is timelineRow of a safekeeper, read.
func (c *Cluster) timelineStatus(ctx context.Context, n Node) (replication.Status, error) {
	row, err := c.timelineRow(ctx, n.PG)
	if err != nil {
		return replication.Status{}, err
	}
	return replication.ParseStatus(row)
}
