package sim

import (
	"encoding/json"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// schedules is a number of runs, shared among the processors: which ones there are
// does not depend on how many do them.
type schedules struct {
	last   uint64
	count  uint64
	config func(seed uint64) Config
	budget time.Duration
	began  time.Time
	next   atomic.Uint64 // seed
	failed atomic.Uint64 // the lowest seed that failed

	mu     sync.Mutex
	total  Stats
	states map[uint64]struct{}
	late   int // states that the last tenth of the seeds met first
	ran    int
	said   time.Time
	say    func(format string, args ...any)
}

// sayEvery is the time between two lines on how far a long run has come.
const sayEvery = time.Minute

// work runs seeds until there are none, one failed, or time is up.
func (s *schedules) work() {
	for time.Since(s.began) < s.budget {
		seed := s.next.Add(1)
		if seed > s.last || seed > s.failed.Load() {
			return
		}
		stats, states, err := run(s.config(seed))
		if err != nil {
			for low := s.failed.Load(); seed < low && !s.failed.CompareAndSwap(low, seed); {
				low = s.failed.Load()
			}
			return
		}
		s.mu.Lock()
		s.total.Add(stats)
		s.ran++
		before := len(s.states)
		for state := range states {
			s.states[state] = struct{}{}
		}
		if seed > s.last-s.count/10 {
			s.late += len(s.states) - before
		}
		if now := time.Now(); now.Sub(s.said) >= sayEvery {
			s.said = now
			s.say("%d schedules so far, up to seed %d of %d; %d states covered", s.ran, seed, s.last, len(s.states))
		}
		s.mu.Unlock()
	}
}

// runFrom runs schedules until one fails, and says how many it ran.
func runFrom(t *testing.T, n int, random func(uint64) Config, change func(*Config)) (total Stats, ran int) {
	t.Helper()
	first := uint64(*firstSeed)
	last := first + uint64(n) - 1
	if *oneSeed >= 0 {
		first, last = uint64(*oneSeed), uint64(*oneSeed)
	}
	if *config != "" {
		last = first
	}
	began := time.Now()
	s := &schedules{last: last, count: last - first + 1, budget: *budget, began: began, total: Stats{}, states: map[uint64]struct{}{}, said: began, say: t.Logf}
	s.config = func(seed uint64) Config {
		c := random(seed)
		change(&c)
		if *config != "" {
			if err := json.Unmarshal([]byte(*config), &c); err != nil {
				panic("-config: " + err.Error())
			}
		}
		return c
	}
	s.next.Store(first - 1)
	s.failed.Store(math.MaxUint64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(s.work)
	}
	wg.Wait()
	if seed := s.failed.Load(); seed != math.MaxUint64 {
		report(t, s.config(seed))
	}
	if s.ran < int(last-first+1) {
		t.Logf("out of time after %d of %d schedules", s.ran, n)
	}
	took := time.Since(s.began)
	t.Logf("%d schedules in %s, %.0f a second; %d states covered, %d of them by the last tenth of the seeds alone:\n%s",
		s.ran, took.Round(time.Millisecond), float64(s.ran)/took.Seconds(), len(s.states), s.late, s.total)
	return s.total, s.ran
}

// report fails a test because of a schedule, with what it shrinks to.
func report(t *testing.T, c Config) {
	t.Helper()
	_, err := Run(c)
	require.Error(t, err, "seed %d failed once, and does not fail again", c.Seed)
	small, why := Shrink(c, 2000)
	t.Fatalf("%v\n%+v\nto repeat: go test ./test/sim -run '^%s$' -args -seed %d\nshrunk to %d steps: %v\nto repeat: go test ./test/sim -run '^%s$' -args -config '%s'",
		err, c, t.Name(), c.Seed, small.Steps, why, t.Name(), small.Text())
}
