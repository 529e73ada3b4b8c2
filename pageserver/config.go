package pageserver

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/walhaven/walhaven/internal/access"
	"github.com/walhaven/walhaven/internal/config"
	"github.com/walhaven/walhaven/internal/daemon"
)

// Config is everything that an operator can set. The tags are the only place
// where a setting is described; package internal/config makes flags, variables,
// file keys, help and SHOW ALL of them.
type Config struct {
	config.Common
	daemon.LogConfig
	Access access.Config     `embed:""`
	Peer   access.PeerConfig `embed:""`

	ID      uint64 `name:"id" required:"" help:"Node ID of this pageserver, at least 1. It is kept in the data directory, which refuses another one."`
	DataDir string `name:"data-dir" required:"" placeholder:"DIR" help:"Data directory; made when missing."`

	ListenPG   string `name:"listen-pg" default:"127.0.0.1:64000" help:"Address for PostgreSQL connections."`
	ListenHTTP string `name:"listen-http" default:"127.0.0.1:9898" help:"Address for /metrics, /livez, /readyz and /v1/; empty for none."`

	Safekeeper []string `name:"safekeeper" placeholder:"HOST:PORT" help:"Safekeeper whose timelines are pulled while nobody pushes them, to provision this pageserver; repeatable."`

	Memory         config.Bytes  `name:"memory" default:"512MiB" help:"Memory that the process may take, whatever the rate; at least 192MiB."`
	RestoreWindow  time.Duration `name:"restore-window" default:"168h" help:"How far back pages are kept: every LSN of this time up to the newest commit can be read. 0 keeps everything."`
	LSNWaitTimeout time.Duration `name:"lsn-wait-timeout" default:"60s" help:"How long a page request waits for WAL that has not arrived."`

	WALSenderTimeout time.Duration `name:"wal-sender-timeout" default:"60s" help:"A receiver of WAL that is silent for so long is disconnected."`
}

// minMemory keeps each part that memory is divided into useful, in bytes.
const minMemory = 192 << 20

// check refuses values that cannot work.
func (c *Config) check() error {
	switch {
	case c.ID == 0:
		return errors.New("--id must be at least 1")
	case c.DataDir == "":
		return errors.New("--data-dir is required")
	}
	if c.Memory < minMemory {
		return fmt.Errorf("--memory must be at least %d MiB", minMemory>>20)
	}
	if c.RestoreWindow < 0 {
		return errors.New("--restore-window must not be negative")
	}
	for _, addr := range c.Safekeeper {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("--safekeeper: %w", err)
		}
	}
	return c.Access.Check(c.ListenPG, c.ListenHTTP)
}

// DefaultConfig is what a program without flags would have; ID and DataDir are
// still to be set.
func DefaultConfig() Config {
	return Config{
		ListenPG: "127.0.0.1:64000", Peer: access.DefaultPeerConfig(), WALSenderTimeout: time.Minute,
		Memory: 512 << 20, RestoreWindow: 7 * 24 * time.Hour, LSNWaitTimeout: time.Minute,
	}
}
