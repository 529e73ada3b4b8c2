package chaos

import (
	"slices"
	"syscall"
	"time"
)

// breakThings does each kind of fault, in an order of the seed, and again until the
// time is up.
func (w *world) breakThings(end time.Time) {
	for round := 1; ; {
		deck := append(slices.Clone(faults), failovers...)
		w.rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		for _, f := range deck {
			if round > len(deck) && time.Now().After(end) {
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
	w.hold(200*time.Millisecond + time.Duration(w.rng.Int64N(int64(time.Second))))
	during, _, _ := w.history.counts()
	healed := time.Now()
	w.heal()
	undo()
	if end != nil {
		end()
	}
	w.awaitCommits(20, 4)
	inserts, swaps, _ := w.history.counts()
	w.t.Logf("%3d  %s: %s%s; %d commits in %s, %s until they went on; %s, %d acknowledged so far", n, f.name, what, also, during-before,
		healed.Sub(began).Round(10*time.Millisecond), time.Since(healed).Round(10*time.Millisecond),
		time.Since(w.history.began).Round(time.Second), inserts+swaps)
}

// breakMore breaks something else at the same time, in every third round: for a
// change of the primary a safekeeper, which nothing may depend on, else a link.
func (w *world) breakMore(f fault) (what string, undo func()) {
	k, undo := w.anyKeeper(), func() {}
	switch {
	case w.rng.IntN(3) > 0, f.needsAll:
		return "", undo
	case slices.ContainsFunc(failovers, func(o fault) bool { return o.name == f.name }):
		if w.rng.IntN(2) == 0 {
			w.isolate(k.m)
			return ", " + k.m.String() + " cut off meanwhile", undo
		}
		k.signal(syscall.SIGSTOP)
		return ", " + k.m.String() + " hangs meanwhile", func() { k.signal(syscall.SIGCONT) }
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
