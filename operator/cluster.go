package operator

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"

	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/durablefile"
	"github.com/walhaven/walhaven/wal"
)

// ClusterFile is the name of the file that describes a cluster, inside its
// directory.
const ClusterFile = "cluster.toml"

// Cluster describes where the parts of one cluster are. It is what `walhaven
// up` writes and what every other operation reads.
type Cluster struct {
	Tenant       wal.TenantID   `toml:"tenant_id"`
	Timeline     wal.TimelineID `toml:"timeline_id"`
	Name         string         `toml:"timeline"`
	User         string         `toml:"user"`
	PasswordFile string         `toml:"password_file,omitempty"`
	Postgres     Postgres       `toml:"postgres"`
	Walproposer  Walproposer    `toml:"walproposer"`
	Safekeepers  []Node         `toml:"safekeepers"`
	// Retired are safekeepers of `up` that were removed from the membership, and may
	// still run.
	Retired     []Node      `toml:"retired_safekeepers,omitempty"`
	Pageservers []Node      `toml:"pageservers,omitempty"`
	Attached    *Attachment `toml:"attached,omitempty"` // nil: `up` runs the server

	dir string // the folder of the file
}

// Postgres is the server whose WAL is kept.
type Postgres struct {
	DataDir   string `toml:"data_dir"`
	BinDir    string `toml:"bin_dir"`
	SocketDir string `toml:"socket_dir"`
	Port      int    `toml:"port"`
	// ConnString is how the walproposer reaches the server; empty: over loopback,
	// as `up` sets it up.
	ConnString string `toml:"conninfo,omitempty"`
	// Disposable says that the server runs with fsync = off, and is rebuilt after a
	// crash of its machine.
	Disposable bool `toml:"disposable,omitempty"`
}

// Walproposer is the process beside PostgreSQL.
type Walproposer struct {
	HTTP string `toml:"http"`
	// InProcess keeps tap and push workers in one process.
	InProcess bool `toml:"in_process,omitempty"`
	// EarlyPush has it push WAL while PostgreSQL flushes it, which a disposable one
	// does not do.
	EarlyPush bool `toml:"early_push,omitempty"`
}

// Node is a safekeeper or a pageserver. Addresses are host:port.
type Node struct {
	ID      int    `toml:"id"`
	PG      string `toml:"pg"`
	HTTP    string `toml:"http"`
	DataDir string `toml:"data_dir"`
	// External is a member that was added from elsewhere: `up` and `down` leave it
	// alone.
	External bool `toml:"external,omitempty"`
}

// LoadCluster reads a cluster file. An unknown key is an error, since it is
// most likely a misspelt one.
func LoadCluster(path string) (*Cluster, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = program.Explain(err, "", "Name the cluster's file or folder with --cluster; walhaven up and walhaven attach make one.")
	}
	if err != nil {
		return nil, fmt.Errorf("read cluster file: %w", err)
	}
	c := &Cluster{}
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(c); err != nil {
		return nil, fmt.Errorf("cluster file %s: %w", path, err)
	}
	if c.dir, err = filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		c.dir, err = filepath.Abs(c.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("cluster file %s: %w", path, err)
	}
	if len(c.Safekeepers) == 0 {
		return nil, fmt.Errorf("cluster file %s names no safekeepers", path)
	}
	return c, nil
}

// save writes the cluster file so that a reader sees the old or the new one.
func (c *Cluster) save() error {
	data, err := toml.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode cluster file: %w", err)
	}
	return durablefile.Replace(filepath.Join(c.dir, ClusterFile), data, 0o644)
}

// Dir is the folder that holds the cluster file.
func (c *Cluster) Dir() string { return c.dir }

// FindCluster returns the cluster file to use: the one named, else
// WALHAVEN_CLUSTER, else the places where `up` and packages put it.
func FindCluster(named string) (string, error) {
	if named == "" {
		named = os.Getenv("WALHAVEN_CLUSTER")
	}
	if named != "" {
		if st, err := os.Stat(named); err == nil && st.IsDir() {
			named = filepath.Join(named, ClusterFile)
		}
		return named, nil
	}
	for _, path := range []string{
		filepath.Join(DefaultDir, ClusterFile),
		filepath.Join("/etc/walhaven", ClusterFile),
	} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for cluster file: %w", err)
		}
	}
	return "", fmt.Errorf("no cluster file found; name one with --cluster or WALHAVEN_CLUSTER, or start a cluster with: walhaven up")
}

// DefaultDir is where `walhaven up` keeps its cluster.
const DefaultDir = "walhaven-data"

func (c *Cluster) safekeeperAddresses() []string {
	addresses := make([]string, len(c.Safekeepers))
	for i, n := range c.Safekeepers {
		addresses[i] = n.PG
	}
	return addresses
}

func (c *Cluster) safekeeperConninfos() ([]string, error) {
	conninfos := make([]string, len(c.Safekeepers))
	for i, n := range c.Safekeepers {
		var err error
		if conninfos[i], err = c.conninfo(n.PG); err != nil {
			return nil, err
		}
	}
	return conninfos, nil
}
