package walproposer

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// nodes are the members behind the first n peers: peer 0 is node 10.
func nodes(n int) (ids []pushwal.NodeID) {
	for peer := range n {
		ids = append(ids, nodeOf(peer))
	}
	return ids
}

func nodeOf(peer int) pushwal.NodeID { return pushwal.NodeID(10 + peer) }

func TestLineup(t *testing.T) {
	for _, c := range []struct {
		name    string
		members int // the first ones
		here    []int
		spare   []int
	}{
		{"three members, all here", 3, []int{0, 1, 2}, []int{2}},
		{"one of them elsewhere, or behind", 3, []int{0, 1}, nil},
		{"five members", 5, []int{4, 3, 2, 1, 0}, []int{1, 0}},
		{"four members", 4, []int{0, 1, 2, 3}, []int{3}},
		{"two members", 2, []int{0, 1}, nil},
		{"one member", 1, []int{0}, nil},
		{"a node here that is no member", 3, []int{0, 3, 1, 2}, []int{2}},
		{"in the place of one that is", 3, []int{0, 3, 1}, nil},
		{"the membership changes", 0, []int{0, 1, 2}, nil},
	} {
		l := lineup{members: nodes(c.members)}
		for _, p := range c.here {
			l.comes(comer{p, nodeOf(p)})
		}
		if got := l.spare(); !slices.Equal(got, c.spare) {
			t.Errorf("%s: %v is spare, want %v", c.name, got, c.spare)
		}
	}
}

func TestSlowMembersBecomeSpare(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name    string
		takes   []time.Duration // by peer
		changes bool
		here    []int
	}{
		{"one of two is slow", []time.Duration{ms, 7 * ms, ms}, true, []int{0, 2, 1}},
		{"the other one", []time.Duration{7 * ms, ms, ms}, true, []int{2, 1, 0}},
		{"both are", []time.Duration{7 * ms, 8 * ms, ms}, true, []int{0, 2, 1}},
		{"all are", []time.Duration{7 * ms, 7 * ms, 7 * ms}, false, []int{0, 1, 2}},
		{"a little", []time.Duration{2 * ms, ms, ms}, false, []int{0, 1, 2}},
		{"the spare one is not known", []time.Duration{ms, 7 * ms, 0}, false, []int{0, 1, 2}},
		{"of five one at a time", []time.Duration{9 * ms, ms, 8 * ms, 2 * ms, ms}, true, []int{4, 1, 2, 3, 0}},
		{"of two spare ones one is not known", []time.Duration{9 * ms, ms, ms, 0, ms}, true, []int{4, 1, 2, 3, 0}},
		{"all are needed", []time.Duration{ms, 7 * ms}, false, []int{0, 1}},
		{"nobody is here", nil, false, nil},
	} {
		l := lineup{members: nodes(len(c.takes))}
		for p := range c.takes {
			l.comes(comer{p, nodeOf(p)})
		}
		takes := func(peer int) time.Duration { return c.takes[peer] }
		if got := l.change(takes, takes); got != c.changes {
			t.Errorf("%s: changed %v, want %v", c.name, got, c.changes)
		}
		var here []int
		for _, m := range l.here {
			here = append(here, m.peer)
		}
		if !slices.Equal(here, c.here) {
			t.Errorf("%s: lined up %v, want %v", c.name, here, c.here)
		}
	}
}

func members(n int) (c pushwal.Configuration) {
	for _, id := range nodes(n) {
		c.Members = append(c.Members, pushwal.Member{ID: id})
	}
	return c
}

// soon is no time ago however slow the machine is.
func soon() time.Time { return time.Now().Add(time.Hour) }

// spareWorld is three peers here, of which the last is spare.
type spareWorld struct {
	*spares
	uncommitted time.Duration
	answers     []time.Duration // by peer: what it took of late
	due         []time.Duration // by peer: how long its answer is due
	hangs       int             // who does not answer, -1: all do
	lost        int             // who lost its disk and does not count, -1: nobody
	rung        []chan struct{}
}

func newSpareWorld() *spareWorld {
	w := &spareWorld{spares: newSpares(newTestTerm().d, new(attendance), newMetrics(prometheus.NewRegistry())), hangs: -1, lost: -1}
	w.isLive = func(peer int) bool { return peer != w.hangs }
	w.answers, w.due = slices.Repeat([]time.Duration{time.Millisecond}, 3), make([]time.Duration, 3)
	w.oldest = func() time.Duration { return w.uncommitted }
	w.voter = func(peer int) pushwal.NodeID {
		if peer == w.lost {
			return 0
		}
		return nodeOf(peer)
	}
	w.follow(members(3))
	for p := range 3 {
		w.rung = append(w.rung, make(chan struct{}, 1))
		w.comes(p, w.conn(p, w.rung[p]))
	}
	return w
}

func (w *spareWorld) conn(peer int, hurry chan<- struct{}) spareConn {
	return spareConn{
		hurry: hurry,
		trip:  func() time.Duration { return w.answers[peer] },
		waits: func() time.Duration { return w.due[peer] },
	}
}

func (w *spareWorld) expect(t *testing.T, step string, waiting ...int) {
	t.Helper()
	for p := range w.rung {
		if got, want := w.mayWait(p, soon()), slices.Contains(waiting, p); got != want {
			t.Errorf("%s: peer %d may wait: %v, want %v", step, p, got, want)
		}
	}
}

func (w *spareWorld) expectRung(t *testing.T, step string, peers ...int) {
	t.Helper()
	for p, c := range w.rung {
		select {
		case <-c:
			if !slices.Contains(peers, p) {
				t.Errorf("%s: peer %d was rung", step, p)
			}
		default:
			if slices.Contains(peers, p) {
				t.Errorf("%s: peer %d was not rung", step, p)
			}
		}
	}
}

func TestSpareMembersWait(t *testing.T) {
	w := newSpareWorld()
	w.expect(t, "all there", 2)
	if w.mayWait(2, time.Now().Add(-spareWait)) {
		t.Error("a spare member waits longer than spareWait")
	}
	w.leaves(0, w.rung[0])
	w.expect(t, "one gone")
	w.expectRung(t, "one gone", 2)
	again := make(chan struct{}, 1)
	w.comes(0, w.conn(0, again))
	w.expect(t, "back", 0)
	w.leaves(0, w.rung[0])
	w.expect(t, "an older connection's end", 0)
	joint := members(3)
	joint.Generation, joint.NewMembers = 2, joint.Members
	w.follow(joint)
	w.expect(t, "a change of the membership")
	w.follow(members(3))
	w.expect(t, "old news")
	joint.Generation, joint.NewMembers = 3, nil
	w.follow(joint)
	w.expect(t, "its end", 0)
}

func TestLateQuorumIsHedged(t *testing.T) {
	w := newSpareWorld()
	w.expect(t, "at first", 2)
	w.mayWait(2, soon())
	w.uncommitted, w.due[1] = hedgeAfter, hedgeAfter
	if next := w.look(hedgeAfter); next != hedgeAfter {
		t.Errorf("looks again after %s, want %s", next, hedgeAfter)
	}
	w.expect(t, "late")
	w.expectRung(t, "late", 2)
	next := hedgeAfter
	for range 10 {
		next = w.look(next)
	}
	if next != hedgeLook {
		t.Errorf("looks every %s while it lasts, want %s", next, hedgeLook)
	}
	w.expect(t, "still late")
	if n := testutil.ToFloat64(w.metrics.hedges); n != 1 {
		t.Errorf("%g hedges are counted, want 1", n)
	}
	w.uncommitted = 0
	w.look(next)
	w.expect(t, "over, and who hung is not needed", 1)
	w.answers[0], w.answers[2] = 4*time.Millisecond, 4*time.Millisecond
	w.look(hedgeAfter)
	w.expect(t, "nor because it was fast before", 1)
}

// One late answer is no reason to change, but for WAL that is late.
func TestLateAnswerChangesNothing(t *testing.T) {
	w := newSpareWorld()
	w.mayWait(2, soon())
	w.uncommitted, w.due[1] = hedgeAfter-1, hedgeAfter-1
	w.look(hedgeAfter)
	w.expect(t, "not late", 2)
}

// Kept-back WAL may be what a quorum lacks some looks later.
func TestWALKeptBackBeforeIsHedged(t *testing.T) {
	w := newSpareWorld()
	w.mayWait(2, soon())
	for range 3 {
		w.uncommitted = hedgeAfter / 2
		w.look(hedgeAfter)
	}
	w.uncommitted = hedgeAfter
	w.look(hedgeAfter)
	w.expect(t, "late")
}

// A member that lost its disk answers fast and does not count: then all are needed.
func TestNobodyIsSpareUnlessAllCount(t *testing.T) {
	w := newSpareWorld()
	w.lost = 0
	c := members(3)
	c.Generation = 2
	w.follow(c)
	w.expect(t, "one lost its disk")
	w.expectRung(t, "one lost its disk", 2)
	w.lost = -1
	w.comes(0, w.conn(0, w.rung[0]))
	w.expect(t, "it came back", 0)
	w.lost = 1
	w.comes(1, w.conn(1, w.rung[1]))
	w.expect(t, "another one came without")
}

// However many frames an answer is for, it counts once.
func TestRoundTripIsOfAnswers(t *testing.T) {
	c := &pushConn{t: &pushing{metrics: newMetrics(prometheus.NewRegistry())}}
	start := time.Now()
	at := start
	var lsn wal.LSN = 1
	answer := func(frames int, took time.Duration) {
		for range frames {
			lsn++
			c.sent.Add(lsn, at)
		}
		at = at.Add(took)
		c.reached(lsn, at)
	}
	if got := c.roundTrip(); got != 0 {
		t.Errorf("%s before any answer", got)
	}
	answer(1, time.Millisecond)
	if got := c.roundTrip(); got != time.Millisecond {
		t.Errorf("%s after one of 1 ms", got)
	}
	c.reached(lsn, at.Add(time.Second))
	answer(30, 9*time.Millisecond)
	if got := c.roundTrip(); got != 2*time.Millisecond {
		t.Errorf("%s after a late one for 30 frames, want 2 ms", got)
	}
	for range 100 {
		answer(1, 9*time.Millisecond)
	}
	if got := c.roundTrip(); got < 8*time.Millisecond {
		t.Errorf("%s after 100 of 9 ms", got)
	}
}

// A needed one that is slow, though not so slow that WAL is late, is needed no more.
func TestSlowMemberIsNotNeededForLong(t *testing.T) {
	w := newSpareWorld()
	w.answers = []time.Duration{time.Millisecond, 7 * time.Millisecond, time.Millisecond}
	w.expect(t, "at first", 2)
	w.uncommitted = 7 * time.Millisecond
	w.look(hedgeAfter)
	w.expect(t, "slow", 1)
	w.expectRung(t, "slow", 2)
	if n := testutil.ToFloat64(w.metrics.hedges); n != 0 {
		t.Errorf("%g hedges are counted, want none", n)
	}
}

// In a bulk load nothing is kept back, and that WAL waits is nobody's fault.
func TestNothingIsHedgedWhereNothingIsKeptBack(t *testing.T) {
	w := newSpareWorld()
	w.answers = []time.Duration{time.Second, time.Second, time.Second}
	w.uncommitted = time.Second
	if next := w.look(hedgeAfter); next != hedgeAfter {
		t.Errorf("looks again after %s, want %s", next, hedgeAfter)
	}
	w.expect(t, "a bulk load", 2)
	if n := testutil.ToFloat64(w.metrics.hedges); n != 0 {
		t.Errorf("%g hedges are counted, want none", n)
	}
}

func TestNobodyWaitsAtTheEnd(t *testing.T) {
	for _, c := range []struct {
		name  string
		hangs int
		owed  bool
	}{
		{"what was kept back is owed", -1, true},
		{"one that hangs is not waited for", 2, false},
	} {
		w := newSpareWorld()
		w.hangs = c.hangs
		w.expect(t, c.name, 2)
		w.end()
		w.expectRung(t, c.name, 2)
		for p := range w.rung {
			if got, want := w.wasOwed(p), p == 2 && c.owed; got != want {
				t.Errorf("%s: peer %d was owed WAL: %v, want %v", c.name, p, got, want)
			}
		}
		w.look(hedgeAfter)
		w.expect(t, c.name)
	}
}

// A single answer tells that the commit position has come which went with the WAL.
func TestToldWithTheWALItself(t *testing.T) {
	for _, c := range []struct {
		name                 string
		had, end, with, has  wal.LSN
		committed, wantsTold wal.LSN
	}{
		{"WAL and the position that it is committed", 50, 100, 100, 100, 100, 100},
		{"the answer is to earlier WAL", 50, 100, 100, 60, 100, 0},
		{"the position is older", 50, 100, 80, 100, 100, 80},
		{"WAL that it had", 100, 100, 100, 100, 120, 0},
	} {
		var p told
		p.flush.Store(uint64(c.had))
		p.gave(c.end, c.with)
		p.answered(c.has, c.committed)
		if got := wal.LSN(p.commit.Load()); got != c.wantsTold {
			t.Errorf("%s: it was told %s, want %s", c.name, got, c.wantsTold)
		}
	}
}

func TestWatchRests(t *testing.T) {
	w := newSpareWorld()
	w.mayWait(2, soon())
	<-w.kick
	if next := w.look(hedgeAfter); next != hedgeAfter {
		t.Errorf("WAL was kept back, and it looks again after %s", next)
	}
	w.uncommitted = hedgeAfter - 1
	if next := w.look(hedgeAfter); next != hedgeAfter {
		t.Errorf("WAL is not committed, and it looks again after %s", next)
	}
	w.uncommitted = 0
	if next := w.look(hedgeAfter); next != 0 {
		t.Errorf("nothing happens, and it looks again after %s", next)
	}
	w.mayWait(2, soon())
	select {
	case <-w.kick:
	default:
		t.Error("WAL is kept back and nobody is told to look")
	}
}

func TestWatchEnds(t *testing.T) {
	w := newSpareWorld()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.watch(ctx); err == nil {
		t.Error("the watch ended without a reason")
	}
}
