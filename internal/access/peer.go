package access

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// dialTimeout bounds a connection to another program of ours.
const dialTimeout = 5 * time.Second

// PeerConfig says how a server logs in to other programs of ours. It is
// embedded into a server's configuration.
type PeerConfig struct {
	PeerUser         string `name:"peer-user" default:"walhaven" help:"User for connections to other safekeepers and pageservers."`
	PeerPasswordFile string `name:"peer-password-file" placeholder:"FILE" help:"File with the password of --peer-user; read at each connection."`
	PeerSSLMode      string `name:"peer-sslmode" default:"prefer" enum:"disable,allow,prefer,require,verify-ca,verify-full" help:"libpq's sslmode for those connections."`
	PeerSSLRootCert  string `name:"peer-sslrootcert" placeholder:"FILE" help:"Certificates of the authorities that sign the others' certificates."`
}

// DefaultPeerConfig is what a program without flags would have.
func DefaultPeerConfig() PeerConfig {
	return PeerConfig{PeerUser: "walhaven", PeerSSLMode: "prefer"}
}

// Conninfo is libpq's connection string for the program at addr (host:port).
func (c *PeerConfig) Conninfo(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", addr, err)
	}
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

// Options log in under an application name and, unless id is zero, choose a
// timeline.
func (c *PeerConfig) Options(application string, id wal.TTID) replication.DialOptions {
	o := replication.DialOptions{
		Timeout:   dialTimeout,
		Params:    map[string]string{"application_name": application},
		Configure: c.setPassword,
	}
	if id != (wal.TTID{}) {
		o.Params["options"] = fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", id.Tenant, id.Timeline)
	}
	return o
}

// setPassword reads the password at each connection, so that a changed file
// needs no restart.
func (c *PeerConfig) setPassword(config *pgconn.Config) error {
	if c.PeerPasswordFile == "" {
		return nil
	}
	b, err := os.ReadFile(c.PeerPasswordFile)
	if err != nil {
		return fmt.Errorf("read password of --peer-user: %w", err)
	}
	config.Password = strings.TrimRight(string(b), "\r\n")
	return nil
}
