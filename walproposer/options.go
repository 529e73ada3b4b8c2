package walproposer

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// ApplicationName is what the walproposer calls itself in PostgreSQL, and what
// synchronous_standby_names has to name.
const ApplicationName = "walhaven"

// Limits and defaults of Options.
const (
	DefaultTimeline      = "main"
	DefaultSlot          = "walhaven"
	DefaultQueueSize     = 64 << 20
	MinQueueSize         = 4 << 20
	DefaultTakeoverAfter = 5 * time.Second
	DefaultShutdownGrace = 10 * time.Second
)

// Options are what an operator chooses. Zero values are the defaults.
type Options struct {
	// Postgres is the connection string of the server, as libpq takes it. Host,
	// user and password are used as they are; replication and application_name
	// are set.
	Postgres string
	// PostgresPassword is used where Postgres says no other.
	PostgresPassword string
	// Safekeepers are connection strings, or host:port.
	Safekeepers []string
	// SafekeeperUser and SafekeeperPassword log in where Safekeepers say nothing.
	SafekeeperUser, SafekeeperPassword string
	// Tenant defaults to the server's system identifier.
	Tenant wal.TenantID
	// Timeline is a name or 32 hexadecimal digits.
	Timeline string
	// Slot is the physical replication slot in PostgreSQL.
	Slot string
	// QueueSize is the size of the queue in bytes, at least MinQueueSize.
	QueueSize int
	// TakeoverAfter is how long another walproposer must have been silent before
	// this one campaigns. Takeover does without it once.
	TakeoverAfter time.Duration
	Takeover      bool
	// ShutdownGrace is how long a PostgreSQL that is shutting down waits for the
	// quorum.
	ShutdownGrace time.Duration
	// ApplySource is whose position is reported as applied, which is what
	// synchronous_commit = remote_apply waits for: ApplyQuorum or ApplyPageserver.
	ApplySource string
	// DisposableCompute lets PostgreSQL run with fsync = off, in a directory that is
	// marked for it (see [SettleStopped] and the subcommand check).
	DisposableCompute bool
	// EarlyPush says when WAL is pushed while PostgreSQL still flushes it.
	EarlyPush EarlyPush
	// InProcess runs tap and push workers as goroutines instead of processes.
	InProcess bool
	// Ledger is the file of the intervals in which PostgreSQL did not wait; "" =
	// they are counted and logged only.
	Ledger string
	// PostgresLog is the file that the log of a PostgreSQL without a logging collector
	// goes to, for waits that are cancelled; "" = they are not seen there.
	PostgresLog string
	// Instance names this supervisor; random when zero. It is in memory only.
	Instance pushwal.Instance
}

// Values of Options.ApplySource.
const (
	ApplyQuorum     = "quorum"
	ApplyPageserver = "pageserver"
)

// Deps are what the program around gives; each may be nil.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *daemon.Health
	// Log is how child processes log, to the standard error of this one.
	Log daemon.LogConfig
}

// withDefaults checks the options and fills in defaults.
func (o Options) withDefaults() (Options, error) {
	if o.Postgres == "" {
		return o, fmt.Errorf("--postgres is required")
	}
	if len(o.Safekeepers) == 0 {
		return o, fmt.Errorf("--safekeepers is required")
	}
	o.Timeline = cmp.Or(o.Timeline, DefaultTimeline)
	o.Slot = cmp.Or(o.Slot, DefaultSlot)
	o.QueueSize = max(cmp.Or(o.QueueSize, DefaultQueueSize), MinQueueSize)
	o.TakeoverAfter = cmp.Or(o.TakeoverAfter, DefaultTakeoverAfter)
	o.ShutdownGrace = cmp.Or(o.ShutdownGrace, DefaultShutdownGrace)
	if !validSlot(o.Slot) {
		return o, fmt.Errorf("--slot %q: lower-case letters, digits and underscores only, at most 63", o.Slot)
	}
	o.ApplySource = cmp.Or(o.ApplySource, ApplyQuorum)
	if o.ApplySource != ApplyQuorum && o.ApplySource != ApplyPageserver {
		return o, fmt.Errorf("--apply-source %q: want %s or %s", o.ApplySource, ApplyQuorum, ApplyPageserver)
	}
	if o.Instance.IsZero() {
		if _, err := rand.Read(o.Instance[:]); err != nil {
			return o, fmt.Errorf("make instance ID: %w", err)
		}
	}
	return o, nil
}

// validSlot says whether PostgreSQL takes name for a slot.
func validSlot(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return name != "" && len(name) <= 63
}
