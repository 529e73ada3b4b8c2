package sim

import (
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	seeds   = flag.Int("seeds", 2000, "number of schedules, one a seed")
	oneSeed = flag.Int64("seed", -1, "run this seed alone")
	stores  = flag.Int("stores", 60, "number of schedules on the real walstore")
)

// budget bounds the time of a test; what does not fit is left out, and said.
const budget = 50 * time.Second

// runSeeds runs schedules until one fails.
func runSeeds(t *testing.T, n int, change func(*Config)) Stats {
	t.Helper()
	total, began := Stats{}, time.Now()
	first, last := uint64(1), uint64(n)
	if *oneSeed >= 0 {
		first, last = uint64(*oneSeed), uint64(*oneSeed)
	}
	for seed := first; seed <= last; seed++ {
		c := Random(seed)
		change(&c)
		stats, err := Run(c)
		if err != nil {
			t.Fatalf("%v\n%+v\nto repeat: go test ./test/sim -run '^%s$' -seed %d", err, c, t.Name(), seed)
		}
		total.Add(stats)
		if time.Since(began) > budget {
			t.Logf("out of time after %d of %d schedules", seed-first+1, n)
			break
		}
	}
	t.Logf("seeds %d to %d in %s:\n%s", first, last, time.Since(began).Round(time.Millisecond), total)
	return total
}

func TestSchedules(t *testing.T) {
	total := runSeeds(t, *seeds, func(*Config) {})
	if *oneSeed >= 0 || *seeds < 1000 {
		return
	}
	for _, what := range []string{"proposer: commit"} {
		require.NotZero(t, total[what], "never met: %s", what)
	}
}

// TestSchedulesOnStore runs the same on the real log, whose every position is
// compared with the model's.
func TestSchedulesOnStore(t *testing.T) {
	runSeeds(t, *stores, func(c *Config) { c.Store = true })
}
