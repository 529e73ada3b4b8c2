package safekeeper

import (
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

	ID      uint64 `name:"id" required:"" help:"Node ID of this safekeeper, at least 1. It is kept in the data directory, which refuses another one."`
	DataDir string `name:"data-dir" required:"" placeholder:"DIR" help:"Data directory; made when missing."`

	ListenPG   string `name:"listen-pg" default:"127.0.0.1:5454" help:"Address for PostgreSQL connections."`
	ListenHTTP string `name:"listen-http" default:"127.0.0.1:7676" help:"Address for /metrics, /livez, /readyz and /v1/; empty for none."`

	MaxConnections int `name:"max-connections" default:"5000" help:"Sessions at a time. Each timeline has one of its walproposer, one of each member that catches up and one to each receiver."`

	Pageserver []string `name:"pageserver" placeholder:"HOST:PORT" help:"Pageserver that committed WAL is pushed to; repeatable. WAL stays here until that pageserver has it in an object store (its remote LSN, 0 without one: none has one yet), or --min-free-disk is reached."`

	WALKeepSize        config.Bytes `name:"wal-keep-size" default:"1GiB" help:"WAL that stays below the commit position in any case, per timeline."`
	MaxSlotWALKeepSize config.Bytes `name:"max-slot-wal-keep-size" default:"10GiB" help:"A slot further behind than this is invalidated, and a member is not waited for; 0 for never."`
	MinFreeDisk        config.Bytes `name:"min-free-disk" default:"0" help:"Free space below which /readyz fails and pageservers give way; 0 takes 5 % of the disk, at least 1GiB."`

	HeadlessAfter time.Duration `name:"headless-after" default:"5s" help:"How long no walproposer must have been heard before the lowest live member settles the end of WAL by itself; 0 for never."`

	AllowImplicitTimelines bool `name:"allow-implicit-timelines" help:"Let a proposer that asks for it create a timeline, as Neon's walproposer expects."`

	WALSenderTimeout time.Duration `name:"wal-sender-timeout" default:"60s" help:"A receiver of WAL that is silent for so long is disconnected."`
}

// maxConnections is more than a process has descriptors for.
const maxConnections = 1 << 20

// check refuses values that cannot work.
func (c *Config) check() error {
	switch {
	case c.ID == 0:
		return fmt.Errorf("--id must be at least 1")
	case c.DataDir == "":
		return fmt.Errorf("--data-dir is required")
	case c.MaxConnections < 1 || c.MaxConnections > maxConnections:
		return fmt.Errorf("--max-connections must be 1 to %d", maxConnections)
	}
	for _, addr := range c.Pageserver {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("--pageserver: %w", err)
		}
	}
	return c.Access.Check(c.ListenPG, c.ListenHTTP)
}

// DefaultConfig is what a program without flags would have, for servers made in
// tests and other programs; ID and DataDir are still to be set.
func DefaultConfig() Config {
	return Config{
		ListenPG: "127.0.0.1:5454", Peer: access.DefaultPeerConfig(), MaxConnections: 5000,
		WALKeepSize: 1 << 30, MaxSlotWALKeepSize: 10 << 30, WALSenderTimeout: time.Minute,
		HeadlessAfter: 5 * time.Second,
	}
}
