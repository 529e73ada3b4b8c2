package operator

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/internal/conninfo"
	"github.com/walhaven/walhaven/internal/durablefile"
	"github.com/walhaven/walhaven/wal"
)

// local is a cluster on this machine, being started or stopped.
type local struct {
	*Cluster
	out      io.Writer
	binDir   string // where walhaven's own programs are
	server   *compute.Server
	children sync.WaitGroup // waits for the processes that we started
}

// say tells the operator what is done, a line each.
func (l *local) say(format string, args ...any) { fmt.Fprintf(l.out, format+"\n", args...) }

// localUser is the name by which the parts of a local cluster log in.
const localUser = "walhaven"

// openLocal reads the cluster in o.Dir, or plans a new one there when there is
// none; fresh says which.
func openLocal(o UpOptions) (l *local, fresh bool, err error) {
	l = &local{out: o.Out, binDir: o.Programs}
	dir, err := locate(o.Dir, l.say)
	if err != nil {
		return nil, false, err
	}
	if l.binDir == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, false, fmt.Errorf("find walhaven's programs: %w", err)
		}
		l.binDir = filepath.Dir(exe)
	}
	l.Cluster, err = LoadCluster(filepath.Join(dir, ClusterFile))
	if errors.Is(err, fs.ErrNotExist) {
		l.Cluster, err = planCluster(dir, o.Safekeepers)
		fresh = true
	}
	if fresh && err == nil {
		l.Walproposer.InProcess, l.Walproposer.EarlyPush = o.InProcess, o.EarlyPush
	}
	return l, fresh, err
}

// planCluster makes a cluster's folder, password and addresses.
func planCluster(dir string, safekeepers int) (*Cluster, error) {
	c := &Cluster{
		dir:          dir,
		Name:         "main",
		User:         localUser,
		PasswordFile: filepath.Join(dir, "password"),
		Postgres:     Postgres{DataDir: filepath.Join(dir, "postgres", "data")},
	}
	if _, err := rand.Read(c.Timeline[:]); err != nil {
		return nil, fmt.Errorf("make timeline ID: %w", err)
	}
	for _, d := range []string{dir, c.runDir(), c.logDir(), filepath.Dir(c.Postgres.DataDir)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("make cluster folder: %w", err)
		}
	}
	if err := makePassword(c.PasswordFile); err != nil {
		return nil, err
	}
	var err error
	for id := 1; id <= safekeepers && err == nil; id++ {
		var n Node
		n, err = planNode(dir, "safekeeper", id)
		c.Safekeepers = append(c.Safekeepers, n)
	}
	if err == nil {
		var n Node
		n, err = planNode(dir, "pageserver", 1)
		c.Pageservers = []Node{n}
	}
	if err == nil {
		c.Walproposer.HTTP, err = freeAddress()
	}
	if err == nil {
		c.Postgres.Port, err = compute.FreePort()
	}
	if err != nil {
		return nil, fmt.Errorf("choose ports: %w", err)
	}
	return c, nil
}

func planNode(dir, kind string, id int) (n Node, err error) {
	n = Node{ID: id, DataDir: filepath.Join(dir, nodeName(kind, id))}
	if n.PG, err = freeAddress(); err == nil {
		n.HTTP, err = freeAddress()
	}
	return n, err
}

func freeAddress() (string, error) {
	port, err := compute.FreePort()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}

// makePassword writes a random password into a new file that only its owner
// reads; an existing one is kept.
func makePassword(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := durablefile.Replace(path, []byte(rand.Text()+"\n"), 0o600); err != nil {
		return err
	}
	// `wal get` reads it too, and runs as PostgreSQL's account.
	account, err := compute.RunAs()
	if err != nil {
		return err
	}
	return account.Own(path)
}

// password is the one that the parts of the cluster share.
func (c *Cluster) password() (string, error) {
	data, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// usersFile holds the SCRAM verifiers that the daemons check logins against.
func (c *Cluster) usersFile() string { return filepath.Join(c.dir, "users") }

// Conninfo is how clients reach the server over TCP; the password is in the
// file it names.
func (p Postgres) Conninfo() string {
	if p.ConnString != "" {
		return p.ConnString
	}
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres passfile=%s", p.Port, localUser, conninfo.Quote(p.passFile()))
}

func (p Postgres) passFile() string { return p.DataDir + ".pgpass" }

// backupDir is where `up` puts its base backup.
func (c *Cluster) backupDir() string { return filepath.Join(c.dir, "base") }

// timelineDir is where a node keeps the cluster's timeline.
func (c *Cluster) timelineDir(n Node) string {
	return filepath.Join(n.DataDir, c.Tenant.String(), c.Timeline.String())
}

// tail returns the last lines of a log.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// tenantOf is the default tenant of a cluster.
func tenantOf(systemID string) (wal.TenantID, error) {
	id, err := wal.ParseSystemID(systemID)
	if err != nil {
		return wal.TenantID{}, err
	}
	return id.TenantID(), nil
}
