package sim

import (
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	seeds     = flag.Int("seeds", 2000, "number of schedules, one a seed")
	firstSeed = flag.Uint("first", 1, "seed of the first schedule: a long run goes on there, or looks at seeds that none has seen")
	oneSeed   = flag.Int64("seed", -1, "run this seed alone")
	config    = flag.String("config", "", "run this configuration alone, as a failed run has printed it")
	stores    = flag.Int("stores", 100, "number of schedules on the real walstore")
	budget    = flag.Duration("budget", 50*time.Second, "time of a test; what does not fit is left out, and said")
)

// runSeeds runs schedules of all kinds but those that change the membership.
func runSeeds(t *testing.T, n int, change func(*Config)) (total Stats, ran int) {
	t.Helper()
	return runFrom(t, n, Random, change)
}

func TestSchedules(t *testing.T) {
	total, ran := runSeeds(t, *seeds, func(*Config) {})
	if ran < 1000 {
		return
	}
	for _, what := range expected {
		require.NotZero(t, total[what], "never met: %s", what)
	}
}

// expected is what a thousand schedules must have met, or they show little.
var expected = []string{
	"clock: jumped", "disk: fsync failed", "disk: full", "disk: control file or truncation failed",
	"laggard: fed by a donor", "laggard: donor is in another term", "laggard: ends the term, nobody feeds it", "queue: full",
	"scene: played", "server: cloned", "server: crashed inside a record",
	"network: connection broken", "network: duplicated", "network: partition changed", "network: reordered",
	"node refuses: WAL position does not fit", "node refuses: protocol violation",
	"node: WAL cut", "node: crash", "node: old WAL removed", "node: crash between effects", "node: sync", "node: WAL taken during a sync", "node: wiped",
	"peers: begins to learn", "peers: learned", "peers: the other's term changed meanwhile", "peers: refused: WAL position does not fit",
	"proposer ends: PostgreSQL timeline does not fit", "proposer ends: WAL is not provably a continuation",
	"proposer ends: a higher term exists", "proposer ends: another proposer took the term",
	"proposer refuses: protocol violation", "proposer: campaign again",
	"proposer: commit", "proposer: commit persisted by a quorum", "proposer: elected", "proposer: elected headless",
	"server: lost its latest records", "server: promoted", "server: restored from the quorum", "server: wrote alone",
	"to node: append", "to node: elected", "to node: greeting", "to node: heartbeat", "to node: vote request",
	"to proposer: append refused", "to proposer: appended", "to proposer: greeting",
	"to proposer: vote given", "to proposer: vote refused",
}

// TestSchedulesOnStore runs the same on the real log, whose every position is
// compared with the model's.
func TestSchedulesOnStore(t *testing.T) {
	total, ran := runSeeds(t, *stores, func(c *Config) { c.Store = true })
	if ran >= 100 {
		require.NotZero(t, total["store: crash while a timeline was made"])
	}
}
