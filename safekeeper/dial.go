package safekeeper

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// dialTimeout bounds a connection to a pageserver or a peer.
const dialTimeout = 5 * time.Second

// conninfo is libpq's connection string for another program of ours.
func (s *Server) conninfo(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", addr, err)
	}
	c := &s.o.Config
	parts := []string{
		"host=" + quote(host), "port=" + quote(port), "user=" + quote(c.PeerUser),
		"dbname=replication", "sslmode=" + quote(c.PeerSSLMode),
	}
	if c.PeerSSLRootCert != "" {
		parts = append(parts, "sslrootcert="+quote(c.PeerSSLRootCert))
	}
	return strings.Join(parts, " "), nil
}

// quote writes a value as libpq's connection strings take it.
func quote(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// dialOptions choose the timeline and log in as --peer-user.
func (s *Server) dialOptions(id wal.TTID) replication.DialOptions {
	return replication.DialOptions{
		Timeout: dialTimeout,
		Params: map[string]string{
			"application_name": program + "_" + strconv.FormatUint(s.dir.Identity.ID, 10),
			"options":          fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", id.Tenant, id.Timeline),
		},
		Configure: s.setPassword,
	}
}

// setPassword reads the password at each connection, so that a changed file
// needs no restart.
func (s *Server) setPassword(c *pgconn.Config) error {
	path := s.o.Config.PeerPasswordFile
	if path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read password of --peer-user: %w", err)
	}
	c.Password = strings.TrimRight(string(b), "\r\n")
	return nil
}

func (s *Server) dialPush(ctx context.Context, t *timeline, addr string) (*protocol.CopyStream, error) {
	conninfo, err := s.conninfo(addr)
	if err != nil {
		return nil, err
	}
	return replication.Dial(ctx, conninfo, pushCommand, s.dialOptions(t.id))
}
