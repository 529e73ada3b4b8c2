package chaos

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

const (
	// briefly is how long things are broken in `make test`, at length in `make
	// test-long`.
	briefly  = 75 * time.Second
	atLength = time.Hour
	// seedVariable repeats a schedule: the same faults in the same order, though
	// processes are not as repeatable.
	seedVariable = "WALHAVEN_CHAOS_SEED"
	// timeVariable is a duration instead of both.
	timeVariable = "WALHAVEN_CHAOS_TIME"
)

// TestChaos breaks things one after the other, and sometimes two at once, while
// clients write. When all is whole again commits go on, and at the end nothing is
// missing.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, seedVariable)
	}
	n := newNetwork(t)
	t.Logf("%s=%d; %s", seedVariable, seed, n)
	began := time.Now()
	w := newWorld(t, n, seed)
	load := w.startWorkload()
	w.awaitCommits(50, 10)
	t.Logf("everything runs after %s", time.Since(began).Round(time.Second))
	w.breakThings(until(t))
	w.requireStandbyFollows()
	load.end()
	w.requireNothingLost()
	w.requireStandbyFollows()
	w.requireRows(w.standby())
	w.requireSameWAL()
	require.NoError(t, w.history.checkSwaps())
	w.report()
}

// until is when the last fault begins.
func until(t *testing.T) time.Time {
	if text := os.Getenv(timeVariable); text != "" {
		d, err := time.ParseDuration(text)
		require.NoError(t, err, timeVariable)
		return time.Now().Add(d)
	}
	if os.Getenv("WALHAVEN_TEST_LONG") != "" {
		return time.Now().Add(atLength)
	}
	return time.Now().Add(briefly)
}

// breakThings does each kind of fault once, in an order of the seed, and again
// until the time is up.
func (w *world) breakThings(end time.Time) {
	for round := 1; ; {
		deck := append(slices.Clone(faults), failovers...)
		w.rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		for _, f := range deck {
			if time.Now().After(end) {
				return
			}
			w.round(round, f)
			round++
		}
	}
}

// round is one fault, its end, and commits that go on.
func (w *world) round(n int, f fault) {
	w.requireStandbyFollows()
	also, undo := w.breakMore(f)
	began := time.Now()
	before, _, _ := w.history.counts()
	what, end := f.begin(w)
	w.faults[f.name]++
	w.hold(300*time.Millisecond + time.Duration(w.rng.Int64N(int64(1500*time.Millisecond))))
	during, _, _ := w.history.counts()
	healed := time.Now()
	w.heal()
	undo()
	if end != nil {
		end()
	}
	w.awaitCommits(20, 4)
	w.t.Logf("%3d  %s: %s%s; %d commits in %s, %s until they went on", n, f.name, what, also, during-before,
		healed.Sub(began).Round(10*time.Millisecond), time.Since(healed).Round(10*time.Millisecond))
}

// breakMore breaks something else at the same time, in every third round: for a
// change of the primary a safekeeper, which nothing may depend on, else a link.
func (w *world) breakMore(f fault) (what string, undo func()) {
	k, undo := w.anyKeeper(), func() {}
	switch {
	case w.rng.IntN(3) > 0:
		return "", undo
	case slices.ContainsFunc(failovers, func(o fault) bool { return o.name == f.name }):
		if w.rng.IntN(2) == 0 {
			w.isolate(k.m)
			return ", " + k.m.String() + " cut off meanwhile", undo
		}
		k.signal(syscall.SIGSTOP)
		return ", " + k.m.String() + " hangs meanwhile", func() { k.signal(syscall.SIGCONT) }
	case f.needsAll:
		return "", undo
	}
	l := w.anyLink()
	w.cut(l)
	return ", " + l.String() + " lost meanwhile", undo
}

// hold lets things be broken for so long.
func (w *world) hold(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.t.Context().Done():
	}
}

// requireStandbyFollows waits until the standby has what the primary has now.
func (w *world) requireStandbyFollows() {
	w.t.Helper()
	ctx := context.Background()
	at := func(db *database, sql string) wal.LSN {
		text, err := db.server.QueryValue(ctx, sql)
		if err != nil {
			return 0
		}
		lsn, err := wal.ParseLSN(text)
		if err != nil {
			return 0
		}
		return lsn
	}
	end := at(w.primary.Load(), "SELECT pg_current_wal_flush_lsn()")
	require.NotZero(w.t, end)
	w.eventually("the standby follows", func() bool { return at(w.standby(), "SELECT pg_last_wal_replay_lsn()") >= end })
}

// requireNothingLost compares the primary with what clients were told so far.
func (w *world) requireNothingLost() {
	w.t.Helper()
	w.requireRows(w.primary.Load())
}

func (w *world) requireRows(db *database) {
	w.t.Helper()
	known := w.history.snapshot()
	rows, err := db.server.Query(context.Background(), "SELECT id FROM acked")
	require.NoError(w.t, err)
	ids := make([]int64, len(rows))
	for i, row := range rows {
		ids[i], err = strconv.ParseInt(row[0], 10, 64)
		require.NoError(w.t, err)
	}
	require.NoError(w.t, known.checkInserts(ids), fmt.Sprint(db.m))
}

// report says what was done and found.
func (w *world) report() {
	h := w.history
	inserts, swaps, _ := h.counts()
	total := 0
	var kinds []string
	for name, n := range w.faults {
		kinds = append(kinds, fmt.Sprintf("%3d  %s", n, name))
		total += n
	}
	slices.Sort(kinds)
	w.t.Logf("%d faults\n%s", total, strings.Join(kinds, "\n"))
	w.t.Logf("%d acknowledged inserts, none lost, %d of unknown outcome, the longest time between two %s; %d acknowledged swaps of %d on %d registers are linearizable",
		inserts, len(h.unknown), h.longest.Round(time.Millisecond), swaps, len(h.swaps), registers)
}
