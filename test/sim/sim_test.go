package sim

import (
	"encoding/json"
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	seeds   = flag.Int("seeds", 2000, "number of schedules, one a seed")
	oneSeed = flag.Int64("seed", -1, "run this seed alone")
	config  = flag.String("config", "", "run this configuration alone, as a failed run has printed it")
	stores  = flag.Int("stores", 100, "number of schedules on the real walstore")
	budget  = flag.Duration("budget", 50*time.Second, "time of a test; what does not fit is left out, and said")
)

// runSeeds runs schedules until one fails, and says how many it ran.
func runSeeds(t *testing.T, n int, change func(*Config)) (total Stats, ran int) {
	t.Helper()
	return runFrom(t, n, Random, change)
}

// runFrom is runSeeds with configurations of another kind.
func runFrom(t *testing.T, n int, random func(uint64) Config, change func(*Config)) (total Stats, ran int) {
	t.Helper()
	total = Stats{}
	began := time.Now()
	first, last := uint64(1), uint64(n)
	if *oneSeed >= 0 {
		first, last = uint64(*oneSeed), uint64(*oneSeed)
	}
	if *config != "" {
		last = first
	}
	for seed := first; seed <= last; seed++ {
		c := random(seed)
		change(&c)
		if *config != "" {
			require.NoError(t, json.Unmarshal([]byte(*config), &c))
		}
		stats, err := Run(c)
		if err != nil {
			small, why := Shrink(c, 2000)
			t.Fatalf("%v\n%+v\nto repeat: go test ./test/sim -run '^%s$' -args -seed %d\nshrunk to %d steps: %v\nto repeat: go test ./test/sim -run '^%s$' -args -config '%s'",
				err, c, t.Name(), seed, small.Steps, why, t.Name(), small.Text())
		}
		total.Add(stats)
		ran++
		if time.Since(began) > *budget {
			t.Logf("out of time after %d of %d schedules", ran, n)
			break
		}
	}
	t.Logf("seeds %d to %d in %s:\n%s", first, last, time.Since(began).Round(time.Millisecond), total)
	return total, ran
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
	"node: WAL cut", "node: crash", "node: crash between effects", "node: sync", "node: wiped",
	"peers: begins to learn", "peers: learned", "peers: refused: WAL position does not fit",
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
	runSeeds(t, *stores, func(c *Config) { c.Store = true })
}
